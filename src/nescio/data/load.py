"""One way in: from a data argument to a data set."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any

from nescio.data.folders import read_folder
from nescio.data.huggingface import PREFIX, read_saved
from nescio.data.idx import read_idx_folder, read_idx_set
from nescio.data.idx_names import IdxName, find_idx_parts, is_images_file
from nescio.data.images import Dataset, ImageSet, Preprocessing
from nescio.data.layout import CALLED, TEST, TRAIN
from nescio.data.named import FOLDER_SETS, IDX_SETS, load_named
from nescio.data.npz import read_npz
from nescio.data.parquet import names_parquet, read_parquet
from nescio.data.patterns import blank, checkerboard, constant, natural
from nescio.data.preprocess import adapt, choose_preprocessing
from nescio.data.reading import Reading
from nescio.data.rows import Stack, read_all
from nescio.data.shapes import mixed_shapes, novel_shapes, shapes, striped_shapes
from nescio.data.shards import names_shards, read_shards
from nescio.data.shifts import shift_dataset, split_source
from nescio.data.synthetic import digits, letters, noise
from nescio.data.telling import tell_others
from nescio.decode import DEFAULT
from nescio.errors import DataError, UsageError
from nescio.progress import SILENT, Reporter

COUNTS = {
    "noise": 10_000,
    "letters": 2_000,
    "blank": 1,
    "constant": 256,
    "checkerboard": 1_000,
    "natural": 1_000,
    "shapes": 8_000,
    "shapes-mixed": 4_000,
    "shapes-novel": 2_000,
    "shapes-striped": 2_000,
}
"""The sets that are made at run time, with how many images unless told otherwise."""

MADE = {
    "noise": noise,
    "blank": blank,
    "constant": constant,
    "checkerboard": checkerboard,
    "natural": natural,
    "shapes": shapes,
    "shapes-mixed": lambda *asked: mixed_shapes(*asked).images,
    "shapes-novel": novel_shapes,
    "shapes-striped": striped_shapes,
}

LEARNABLE = ("shapes", "shapes-mixed", "shapes-striped")
"""The sets made at run time that have classes to learn."""

SIZE_28, SIZE_32 = (28, 28), (32, 32)
"""Of what is made at run time, unless told otherwise; the second of shapes, which are coloured."""

NAMES = ("digits", *IDX_SETS, *COUNTS, *FOLDER_SETS)
"""All names."""


def load(
    source: str | Path,
    *,
    preprocessing: Preprocessing | None = None,
    image_size: int | tuple[int, int] | None = None,
    labelled: bool | None = None,
    seed: int = 0,
    reading: Reading | None = None,
    reporter: Reporter = SILENT,
) -> Dataset:
    """Load what a data argument names.

    Args:
        source: A name (``digits``, ``mnist``, ``noise:100``, ...), a folder, an
            ``.npz``, an IDX file of images, WebDataset shards (``shards-{000..003}.tar``), Parquet
            (``part-*.parquet``), or ``hf:FOLDER`` of Hugging Face's ``save_to_disk``. A name wins
            over a path of that name; write ``./mnist`` for the path. Or any of these and a shift
            of it: ``mnist@blur:3``, see :mod:`nescio.data.shifts`.
        preprocessing: What to bring every image to; chosen from the data when ``None``.
        image_size: Choose a square of this side, or ``(H, W)``.
        labelled: ``False`` where labels and a second class are not needed: for
            out-of-distribution sets and for prediction.
        seed: Of sets that are made at run time, and of shifts.
        reading: All of this, and what else can be asked: colour, aspect, memory, what to do with
            files that cannot be read. What is named beside it comes first.
        reporter: Told of progress.

    Returns:
        The set; ``train`` holds all images when it has no test split of its own.

    Raises:
        DataError: It does not exist or cannot be used; the message says which and why.
        UsageError: An out-of-distribution set was asked for with labels, or there is no such
            shift.
        DownloadError: A named set is not on this machine and cannot be fetched.
    """
    reading = _joined(reading, preprocessing, image_size, labelled)
    return _load(source, reading, seed, reporter)


def _joined(
    reading: Reading | None,
    preprocessing: Preprocessing | None,
    image_size: int | tuple[int, int] | None,
    labelled: bool | None,
) -> Reading:
    named = {"preprocessing": preprocessing, "image_size": image_size, "labelled": labelled}
    changes: dict[str, Any] = {name: each for name, each in named.items() if each is not None}
    return replace(reading or Reading(), **changes)


def _load(source: str | Path, reading: Reading, seed: int, reporter: Reporter) -> Dataset:
    text = str(source)
    shifted = split_source(source)
    if shifted is not None:
        base, shift = shifted
        if reading.labelled and not shift.keeps_labels:
            raise UsageError(f"{text} has no labels: use it with evaluate --ood")
        return shift_dataset(_load(base, reading, seed, reporter), shift, seed, reporter)
    name, _, count = text.partition(":")
    if name in COUNTS:
        return _make(name, count, reading, seed, reporter)
    if reading.labelled and reading.labels is not None and not _is_folder(text):
        raise UsageError(
            f"--labels {reading.labels}: it labels the image files of a folder, and {text} is none"
        )
    dataset = _read(text, reading, reporter)
    if reading.labelled:
        _require_classes(dataset)
    return _adapt(dataset, reading)


def _is_folder(text: str) -> bool:
    return text not in NAMES and Path(text).is_dir() and not find_idx_parts(Path(text))


def _read(text: str, reading: Reading, reporter: Reporter) -> Dataset:
    """What a name or a path stands for, as it is."""
    columns = reading.image_column or reading.label_column
    if columns and reading.labelled and not (text.startswith(PREFIX) or names_parquet(text)):
        raise UsageError(
            f"--image-column and --label-column belong to Parquet and {PREFIX}, and {text} is none "
            "of these: leave them out"
        )
    if text == "digits":
        return digits()
    if text in IDX_SETS or text in FOLDER_SETS:
        if reading.labelled and text in FOLDER_SETS:
            raise UsageError(f"{text} is an out-of-distribution set: use it with evaluate --ood")
        return load_named(text, reading, reporter=reporter)
    if text.startswith(PREFIX):
        return read_saved(Path(text.removeprefix(PREFIX)), reading, reporter)
    if names_shards(text):
        return read_shards(text, reading, reporter)
    if names_parquet(text):
        return read_parquet(text, reading, reporter)
    return _load_path(Path(text), reading, reporter)


def all_images(dataset: Dataset, reporter: Reporter = SILENT) -> ImageSet:
    """What counts of a set that is out of distribution, or predicted: its test split if any.

    Args:
        dataset: The set.
        reporter: Told of the images that do not count.
    """
    if dataset.test is None:
        return dataset.train
    mend = "name the file or folder that holds them to have those answered"
    left = {CALLED[TRAIN]: len(dataset.train)}
    tell_others(dataset.name, f"its {CALLED[TEST]} part", left, mend, reporter)
    return dataset.test


def _make(name: str, count: str, reading: Reading, seed: int, reporter: Reporter) -> Dataset:
    if reading.labelled and name not in LEARNABLE:
        raise UsageError(f"{name} is an out-of-distribution set: use it with evaluate --ood")
    number = COUNTS[name] if not count else int(count) if count.isdecimal() else 0
    if number < 1:
        raise UsageError(f"{name}:{count}: the count must be a whole number of at least 1")
    coloured = name.startswith("shapes")
    shape = reading.choose([SIZE_32 if coloured else SIZE_28], colour=coloured)
    if name == "letters":  # the only one that takes its time
        return Dataset(name, letters(number, shape, seed, reporter))
    return Dataset(name, MADE[name](number, shape, seed))


def _load_path(path: Path, reading: Reading, reporter: Reporter) -> Dataset:
    if path.is_dir():
        parts = find_idx_parts(path)
        if parts:
            name = path.resolve().name
            return read_idx_folder(path, parts, name, reading=reading, reporter=reporter)
        return read_folder(path, reading, reporter)
    if not path.exists():
        near = get_close_matches(str(path), NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f" (names: {', '.join(NAMES)})"
        raise DataError(f"{path}: no such file or folder, and no data set of that name{hint}")
    if path.name.endswith(".npz"):
        return read_npz(path, reading, reporter)
    if is_images_file(path):
        images = read_idx_set(path, reading=reading, reporter=reporter)
        return Dataset(images.name, images)
    if IdxName.of(path):
        raise DataError(f"{path}: it holds labels; name the file of the images beside it")
    raise DataError(
        f"{path}: expected a folder, an .npz, .tar or .parquet, or an IDX file named "
        "NAME-images-idx3-ubyte[.gz]"
    )


def _require_classes(dataset: Dataset) -> None:
    dataset.train.require_labels()
    if len(dataset.classes) < 2:
        raise DataError(f"{dataset.name}: a classifier needs at least two classes, found one")


def _adapt(dataset: Dataset, reading: Reading) -> Dataset:
    """The data set in one shape; what was read in that shape stays as it is."""
    sets = [s for s in (dataset.train, dataset.test) if s is not None]
    shapes, decoding = [s.preprocessing for s in sets], dataset.train.decoding
    chosen = reading.choose(
        [(shape.height, shape.width) for shape in shapes],
        colour=any(shape.channels == 3 for shape in shapes),
        decoding=reading.decoding if decoding == DEFAULT else decoding,
    )
    return _brought_to(chosen, dataset, reading)


def as_asked(dataset: Dataset, reading: Reading) -> Dataset:
    """A data set that was read already, its images brought to what ``reading`` asks of them.

    What it does not ask stays as it is in the training images: their size, colour or aspect.
    """
    own = dataset.train.preprocessing
    if reading.preprocessing is not None:
        return _brought_to(reading.preprocessing, dataset, reading)
    colour = own.channels == 3 if reading.colour == "auto" else reading.colour == "rgb"
    chosen = replace(
        own,
        channels=3 if colour else 1,
        fit=own.fit if reading.fit == Reading.fit else reading.fit,
        decoding=reading.decoding if own.decoding == DEFAULT else own.decoding,
    )
    if reading.image_size is not None:
        size = choose_preprocessing([], colour=colour, image_size=reading.image_size)
        chosen = replace(chosen, height=size.height, width=size.width)
    return _brought_to(chosen, dataset, reading)


def _brought_to(chosen: Preprocessing, dataset: Dataset, reading: Reading) -> Dataset:
    def adapted(images: ImageSet) -> ImageSet:
        return replace(
            images,
            images=_adapted(images.images, chosen, reading),
            fit=chosen.fit,
            decoding=chosen.decoding,
        )

    test = None if dataset.test is None else adapted(dataset.test)
    return replace(dataset, train=adapted(dataset.train), test=test)


def _adapted(images: Stack, chosen: Preprocessing, reading: Reading) -> Stack:
    """In memory where that holds them, be they smaller than they were or not."""
    adapted = adapt(images, chosen)
    if adapted is images or reading.stream or prod(adapted.shape) > reading.memory:
        return adapted
    return read_all(adapted)
