"""CSV files of a few named columns, as people and spreadsheets write them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from nescio.errors import DataError


def read_records(path: Path, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The records below the header, empty lines left out, each with its line's number.

    Args:
        path: UTF-8, RFC 4180.
        header: The first line, and no more columns: another table must not pass for this one.

    Raises:
        DataError: The file is missing, or no such table; the message has the line's number.
    """
    wanted = ",".join(header)
    line = 1
    try:
        # Spreadsheets put a byte order mark before what they save as UTF-8.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            found = next(reader, None)
            if found is None:
                raise DataError(f"{path}: the file is empty; expected {wanted} and rows below")
            if found != [*header]:
                other = len(found) == 1 and not {*found[0]}.isdisjoint(";\t")
                mend = "; write commas between columns" if other else ""
                raise DataError(
                    f"{path}, line 1: expected the header {wanted}, got "
                    f"{','.join(found)[:80]!r}{mend}"
                )
            line = reader.line_num + 1
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {line}: not a valid CSV record ({error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not in UTF-8; save it as CSV in UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
