"""One way in: from a data argument to a data set."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from nescio.data.folders import read_folder
from nescio.data.idx import find_idx_pair, is_images_file, read_idx_folder, read_idx_set
from nescio.data.images import Dataset, ImageSet, Preprocessing
from nescio.data.named import FOLDER_SETS, IDX_SETS, load_named
from nescio.data.npz import read_npz
from nescio.data.patterns import blank, checkerboard, constant, natural
from nescio.data.preprocess import adapt, choose_preprocessing
from nescio.data.shapes import mixed_shapes, novel_shapes, shapes, striped_shapes
from nescio.data.shifts import shift_dataset, split_source
from nescio.data.synthetic import digits, letters, noise
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

GREY_28 = Preprocessing(1, 28, 28)
COLOUR_32 = Preprocessing(3, 32, 32)
"""What shapes are drawn as, unless told otherwise."""

NAMES = ("digits", *IDX_SETS, *COUNTS, *FOLDER_SETS)
"""All names."""


def load(
    source: str | Path,
    *,
    preprocessing: Preprocessing | None = None,
    image_size: int | None = None,
    labelled: bool = True,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> Dataset:
    """Load what a data argument names.

    Args:
        source: A name (``digits``, ``mnist``, ``noise:100``, ...), a folder, an
            ``.npz`` or an IDX file of images. A name wins over a path of that name;
            write ``./mnist`` for the path. Or any of these and a shift of it:
            ``mnist@blur:3``, see :mod:`nescio.data.shifts`.
        preprocessing: What to bring every image to; chosen from the data when ``None``.
        image_size: Choose a square of this side.
        labelled: ``False`` where labels and a second class are not needed: for
            out-of-distribution sets and for prediction.
        seed: Of sets that are made at run time, and of shifts.
        reporter: Told of progress.

    Returns:
        The set; ``train`` holds all images when it has no test split of its own.

    Raises:
        DataError: It does not exist or cannot be used; the message says which and why.
        UsageError: An out-of-distribution set was asked for with labels, or there is no such
            shift.
        DownloadError: A named set is not on this machine and cannot be fetched.
    """
    text = str(source)
    shifted = split_source(source)
    if shifted is not None:
        base, shift = shifted
        if labelled and not shift.keeps_labels:
            raise UsageError(f"{text} has no labels: use it with --ood")
        dataset = load(
            base,
            preprocessing=preprocessing,
            image_size=image_size,
            labelled=labelled,
            seed=seed,
            reporter=reporter,
        )
        return shift_dataset(dataset, shift, seed, reporter)
    name, _, count = text.partition(":")
    if name in COUNTS:
        shape = preprocessing or _square(image_size, colour=name.startswith("shapes"))
        return _make(name, count, shape, seed, labelled=labelled, reporter=reporter)
    if text == "digits":
        dataset = digits()
    elif text in IDX_SETS or text in FOLDER_SETS:
        if labelled and text in FOLDER_SETS:
            raise UsageError(f"{text} is an out-of-distribution set: use it with --ood")
        dataset = load_named(text, preprocessing=preprocessing, reporter=reporter)
    else:
        dataset = _load_path(
            Path(source),
            preprocessing=preprocessing,
            image_size=image_size,
            labelled=labelled,
            reporter=reporter,
        )
    if labelled:
        _require_classes(dataset)
    return _adapt(dataset, preprocessing, image_size)


def all_images(dataset: Dataset) -> ImageSet:
    """What counts of a set that is out of distribution, or predicted: its test split if any."""
    return dataset.train if dataset.test is None else dataset.test


def _square(side: int | None, *, colour: bool) -> Preprocessing:
    if side is None:
        return COLOUR_32 if colour else GREY_28
    return choose_preprocessing([], colour=colour, image_size=side)


def _make(
    name: str, count: str, shape: Preprocessing, seed: int, *, labelled: bool, reporter: Reporter
) -> Dataset:
    if labelled and name not in LEARNABLE:
        raise UsageError(f"{name} is an out-of-distribution set: use it with --ood")
    number = COUNTS[name] if not count else int(count) if count.isdecimal() else 0
    if number < 1:
        raise UsageError(f"{name}:{count}: the count must be a whole number of at least 1")
    if name == "letters":  # the only one that takes its time
        return Dataset(name, letters(number, shape, seed, reporter))
    return Dataset(name, MADE[name](number, shape, seed))


def _load_path(
    path: Path,
    *,
    preprocessing: Preprocessing | None,
    image_size: int | None,
    labelled: bool,
    reporter: Reporter,
) -> Dataset:
    if path.is_dir():
        pair = find_idx_pair(path)
        if pair is not None:
            return read_idx_folder(path, pair, path.resolve().name)
        return read_folder(
            path,
            preprocessing=preprocessing,
            image_size=image_size,
            labelled=labelled,
            reporter=reporter,
        )
    if not path.exists():
        near = get_close_matches(str(path), NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f" (names: {', '.join(NAMES)})"
        raise DataError(f"{path}: no such file or folder, and no data set of that name{hint}")
    if path.name.endswith(".npz"):
        images = read_npz(path)
    elif is_images_file(path):
        images = read_idx_set(path)
    else:
        raise DataError(
            f"{path}: expected a folder, an .npz, or an IDX file named NAME-images-idx3-ubyte[.gz]"
        )
    return Dataset(images.name, images)


def _require_classes(dataset: Dataset) -> None:
    dataset.train.require_labels()
    if len(dataset.classes) < 2:
        raise DataError(f"{dataset.name}: a classifier needs at least two classes, found one")


def _adapt(
    dataset: Dataset, preprocessing: Preprocessing | None, image_size: int | None
) -> Dataset:
    sets = [s for s in (dataset.train, dataset.test) if s is not None]
    if preprocessing is None:
        shapes = [s.preprocessing for s in sets]
        chosen = choose_preprocessing(
            [(shape.height, shape.width) for shape in shapes],
            colour=any(shape.channels == 3 for shape in shapes),
            image_size=image_size,
        )
    else:
        chosen = preprocessing
    adapted = [replace(s, images=adapt(s.images, chosen)) for s in sets]
    return Dataset(dataset.name, adapted[0], adapted[1] if len(adapted) > 1 else None)
