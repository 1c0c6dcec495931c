"""A study as a JSON file: written and read by the types of its fields.

The file is one object: ``format``, ``version``, the ``nescio`` that wrote it, and ``study``. In
it a column is ``{"dtype", "shape", "data"}`` with its little-endian bytes, deflated, in base64;
an image is a PNG in base64; an infinite number is "inf" or "-inf".
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from nescio.errors import StudyError
from nescio.evaluation.intervals import Interval
from nescio.evaluation.study import JudgedSet, Study
from nescio.files import write_text

FORMAT = "nescio study"

FORMAT_VERSION = 1
"""Raised whenever an older nescio would misread a newer file, or a newer one an older file."""

DTYPES = ("int8", "int32", "int64", "float32", "float64")
"""Of columns; no other is read."""

MOST_BYTES = 2**31
"""A column that says that it holds more is not believed."""


def write_study(path: str | Path, study: Study) -> None:
    """Write a study, whole or not at all.

    Args:
        path: The file.
        study: The study.
    """
    write_text(Path(path), json.dumps(study_to_json(study), ensure_ascii=False, allow_nan=False))


def read_study(path: str | Path) -> Study:
    """Read what :func:`write_study` wrote.

    Raises:
        StudyError: It is no study, damaged, or of another version; the message says what to do.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise StudyError(
            f"{path}: this is no study: not JSON ({error}); make one with nescio evaluate MODEL "
            "DATA --study FILE.json"
        ) from error
    return study_from_json(record, str(path))


def study_to_json(study: Study) -> dict[str, Any]:
    """A study as plain JSON values."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "nescio": version("nescio"),
        "study": _encode(study),
    }


def study_from_json(record: Any, source: str = "study") -> Study:
    """What :func:`study_to_json` gave.

    Args:
        record: Plain JSON values.
        source: What errors call it.

    Raises:
        StudyError: It is no study, damaged, or of another version.
    """
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise StudyError(
            f"{source}: this is no study; make one with nescio evaluate MODEL DATA "
            "--study FILE.json"
        )
    found = record.get("version")
    if found != FORMAT_VERSION:
        newer = isinstance(found, int) and found > FORMAT_VERSION
        mend = (
            f"update nescio (it was written by {record.get('nescio')})"
            if newer
            else "make it again with nescio evaluate MODEL DATA --study FILE.json"
        )
        raise StudyError(
            f"{source}: a study of version {found}, this nescio reads version {FORMAT_VERSION}; "
            f"{mend}"
        )
    try:
        study: Study = _decode(Study, record["study"], "study")
        _check(study)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, zlib.error) as error:
        raise StudyError(
            f"{source}: the study is damaged ({' '.join(str(error).split())}); make it again"
        ) from error
    return study


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _encode(value: Any) -> Any:  # noqa: PLR0911 - one return for each kind
    match value:
        case None | str() | bool() | int():
            return value
        case float():
            if math.isnan(value):
                raise ValueError("a figure that is not defined must be None")
            return value if math.isfinite(value) else str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case np.ndarray():
            return _encode_column(value)
        case Mapping():
            return {str(key): _encode(each) for key, each in value.items()}
        case tuple() | list():
            return [_encode(each) for each in value]
    return {each.name: _encode(getattr(value, each.name)) for each in fields(value)}


def _encode_column(column: np.ndarray[Any, np.dtype[Any]]) -> dict[str, Any]:
    plain = np.ascontiguousarray(column, column.dtype.newbyteorder("<"))
    return {
        "dtype": str(column.dtype),
        "shape": list(column.shape),
        "data": base64.b64encode(zlib.compress(plain.tobytes(), 6)).decode(),
    }


def _decode(kind: Any, value: Any, place: str) -> Any:  # noqa: PLR0911 - one return for each kind
    """Read ``value`` as ``kind``; ``place`` tells where it stands, for errors."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (given,) = (each for each in inner if each is not NoneType)
        return None if value is None else _decode(given, value, place)
    if kind is Any:
        return value
    if origin is tuple:
        items = _expect(value, list, place)
        kinds = [inner[0]] * len(items) if inner[-1] is Ellipsis else inner
        return tuple(
            _decode(each, item, f"{place}[{i}]")
            for i, (each, item) in enumerate(zip(kinds, items, strict=True))
        )
    if origin is not None and issubclass(origin, Mapping):
        entries = _expect(value, dict, place).items()
        # JSON knows text as keys alone.
        return {inner[0](key): _decode(inner[1], each, f"{place}.{key}") for key, each in entries}
    if origin is np.ndarray:
        return _decode_column(_expect(value, dict, place), place)
    if is_dataclass(kind):
        return _decode_record(kind, _expect(value, dict, place), place)
    if kind is bytes:
        return base64.b64decode(_expect(value, str, place), validate=True)
    if kind is float:
        number = float(_expect(value, (int, float, str), place))
        if math.isnan(number):
            raise ValueError(f"{place} is not a number")
        return number
    return _expect(value, kind, place)


def _decode_record(kind: Any, record: Mapping[str, Any], place: str) -> Any:
    hints = get_type_hints(kind)
    values = {
        each.name: _decode(hints[each.name], record[each.name], f"{place}.{each.name}")
        for each in fields(kind)
    }
    if kind is Interval and not values["low"] <= values["value"] <= values["high"]:
        raise ValueError(f"{place} lies outside its interval")
    return kind(**values)


def _decode_column(record: Mapping[str, Any], place: str) -> np.ndarray[Any, np.dtype[Any]]:
    shape = [int(_expect(size, int, place)) for size in _expect(record["shape"], list, place)]
    if record["dtype"] not in DTYPES or min(shape, default=0) < 0:
        raise ValueError(f"{place} is no column")
    dtype = np.dtype(record["dtype"]).newbyteorder("<")
    size = math.prod(shape) * dtype.itemsize
    if size > MOST_BYTES:
        raise ValueError(f"{place} would take {size:,} bytes")
    packed = base64.b64decode(_expect(record["data"], str, place), validate=True)
    # No more is unpacked than what there should be, whatever the data say.
    unpacked = zlib.decompressobj().decompress(packed, size + 1)
    if len(unpacked) != size:
        raise ValueError(f"{place} has not the size that it tells")
    column = np.frombuffer(unpacked, dtype).astype(record["dtype"]).reshape(shape)
    if np.isnan(column).any():
        raise ValueError(f"{place} holds what is not a number")
    return column


def _expect(value: Any, kind: Any, place: str) -> Any:
    # To Python True is a number; here it is not.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{place} is of the wrong kind")
    return value


def _check(study: Study) -> None:
    """What parts must agree in, so that whoever draws a study need not ask."""
    names = set(study.shifted)
    for place, judged in (("test", study.test), *study.shifted.items()):
        _check_set(judged, place, study)
    if study.test.labels is None or not study.rules:
        raise ValueError("it needs a test set with labels and a rule")
    for rule in study.rules:
        if set(rule.shifted) != names:
            raise ValueError(f"{rule.name} lacks figures of a set")


def _check_set(judged: JudgedSet, place: str, study: Study) -> None:
    size, classes = len(judged), len(study.classes)
    columns = [judged.forced, judged.predicted, judged.confidence, judged.samples]
    truth = [judged.labels, judged.label_probability, judged.brier]
    if len({column is None for column in truth}) != 1:
        raise ValueError(f"{place} has only a part of the columns that labels give")
    columns += [column for column in truth if column is not None]
    named = [judged.forced, judged.predicted, *([] if judged.labels is None else [judged.labels])]
    for answers in judged.answers:
        columns += [getattr(answers, each.name) for each in fields(answers)]
        named.append(answers.top)
    shaped = all(column.shape == (size,) for column in columns)
    if not size or not shaped or len(judged.names) != size:
        raise ValueError(f"{place} has columns of unlike lengths, or no image")
    if judged.probability is not None and judged.probability.shape != (size, classes):
        raise ValueError(f"{place} has not a probability for each class")
    if len(judged.answers) != len(study.rules):
        raise ValueError(f"{place} has not an answer of each rule")
    if any(column.min() < 0 or column.max() >= classes for column in named):
        raise ValueError(f"{place} names a class that there is not")
