"""Before a fit: read and split the data, build the network; all that can fail before any work."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from nescio.classifier import Promises
from nescio.data import (
    PARTS,
    Colour,
    DataLike,
    Dataset,
    ImageSet,
    Reading,
    Splits,
    as_asked,
    count_groups,
    drop_rare,
    group_extra,
    group_images,
    images_at_once,
    join_extra,
    parts_of,
    read_data_like,
    read_labels,
    read_split,
    split,
    suitable_augmentation,
    tell_duplicates,
    tell_groups,
    tell_near_copies,
    write_split,
)
from nescio.errors import DataError, UsageError
from nescio.familiarity import StageReader
from nescio.inference import Recipe, tell_imbalance
from nescio.network import LoadedWeights, NetworkSource, NetworkSpec
from nescio.progress import Reporter
from nescio.refusal import parse_rule
from nescio.training.asked import Asked

TOGETHER = 256
"""Images that are compared at once."""


@dataclass(frozen=True)
class Ready:
    """What there is before a fit.

    Attributes:
        dataset: The data set.
        fingerprint: Of its training images.
        splits: Its parts, extra images among those to train on.
        parts: For each image its part, where a file, the folders or groups decided it.
        joined: The extra images.
        test_fraction: The share left out for test.
        recipe: With what ``auto`` stands for.
        source: Where the network comes from.
        spec: How to build it again.
        module: The network.
        loaded: The weights that it begins with, if from a file.
        calibrates: Whether there are calibration images.
        dropped: The classes that were left out, with too few images.
    """

    dataset: Dataset
    fingerprint: str
    splits: Splits
    parts: Tensor | None
    joined: ImageSet | None
    test_fraction: float
    recipe: Recipe
    source: NetworkSource
    spec: NetworkSpec
    module: nn.Module
    loaded: LoadedWeights | None
    calibrates: bool
    dropped: tuple[str, ...] = ()


def prepare(asked: Asked, reporter: Reporter) -> Ready:
    """Read and split the data, build the network; all that can fail before any work is done."""
    recipe, reading = asked.recipe, asked.reading
    if not 0.0 <= asked.test < 1.0:
        raise UsageError(
            f"the share left out for test must be at least 0 and below 1, got {asked.test}"
        )
    if recipe.rule != "calibrated":
        parse_rule(recipe.rule)
    source = NetworkSource(asked.network, asked.weights, asked.normalise, reading.image_size)
    source.check(freeze=recipe.freeze)
    dataset = _as_dataset(asked.data, source, reading, asked.seed, reporter)
    dataset.require_unshifted()
    dataset = group_images(dataset, asked.grouping, reporter)
    test_fraction = asked.test if dataset.test is None and asked.split_file is None else 0.0
    dropped: tuple[str, ...] = ()
    if reading.drop_rare and asked.split_file is None:
        dataset, dropped = drop_rare(
            dataset, calibration=recipe.calibration, test=test_fraction, reporter=reporter
        )
    splits, parts = _split(dataset, recipe, test_fraction, asked.split_file, asked.seed)
    _tell_parts(dataset, splits, recipe.calibration, asked.split_file, reporter)
    if asked.write_split_to is not None:
        write_split(asked.write_split_to, dataset, splits)
    tell_groups(dataset.name, splits, reporter)
    tell_duplicates(dataset.name, splits, reporter)
    require_pictures(splits.train)
    tell_near_copies(dataset.name, splits, asked.seed, reporter)
    tell_imbalance(splits.train, recipe.balance, reporter)
    splits, joined = _with_extra(splits, asked, dataset.root, reporter)
    source = replace(source, classes=dataset.classes)
    spec = source.spec(splits.train.preprocessing.shape, len(dataset.classes))
    recipe = _with_augmentation(recipe, dataset.name, splits.train)
    calibrates = _calibrates(dataset, splits, recipe, asked.promises)
    module, loaded = source.module(spec, asked.seed, reporter)
    if asked.stages is not None:
        StageReader(module, {}, asked.stages)  # a wrong name must fail before training, too
    return Ready(
        dataset=dataset,
        fingerprint=dataset.train.fingerprint(),
        splits=splits,
        parts=parts,
        joined=joined,
        test_fraction=test_fraction,
        recipe=recipe,
        source=source,
        spec=spec,
        module=module,
        loaded=loaded,
        calibrates=calibrates,
        dropped=dropped,
    )


def _as_dataset(
    data: DataLike,
    source: NetworkSource,
    reading: Reading,
    seed: int,
    reporter: Reporter,
) -> Dataset:
    """The data set, its images brought to what the network needs, if it needs anything."""
    needed = source.preprocessing()
    if needed is not None:
        colour: Colour = "grey" if needed.channels == 1 else "rgb"
        size = needed.height, needed.width
        reading = replace(reading, preprocessing=None, image_size=size, colour=colour)
    dataset = read_data_like(data, reading, seed=seed, reporter=reporter)
    return dataset if isinstance(data, str | Path) else as_asked(dataset, reading)


def _split(
    dataset: Dataset, recipe: Recipe, test: float, file: str | Path | None, seed: int
) -> tuple[Splits, Tensor | None]:
    """The splits, and for each image its part, where a file, the folders or groups decided it."""
    if file is not None:
        return read_split(Path(file), dataset)
    splits = split(dataset, seed=seed, calibration=recipe.calibration, test=test)
    by_seed = dataset.validation is None and dataset.train.groups is None
    return splits, None if by_seed else parts_of(splits)


def _tell_parts(
    dataset: Dataset, splits: Splits, share: float, file: str | Path | None, reporter: Reporter
) -> None:
    """Note what the folders of a set were taken for, and whether few images are held out."""
    names = dataset.part_names
    if not names or file is not None:
        return
    told = ", ".join(f"{part} images from {name}" for part, name in names.items())
    chosen = [part for part in PARTS if part not in names and (part != "calibration" or share)]
    by_seed = f"; {' and '.join(chosen)} images are chosen from them by --seed" if chosen else ""
    reporter.note(f"{dataset.name}: {told}{by_seed}")
    held, usual = len(splits.calibration), round(share * len(splits.train))
    if dataset.validation is not None and held < usual:
        reporter.note(
            f"{dataset.name}: {names.get('calibration', 'the validation part')} has {held} images "
            f"to set thresholds by, fewer than the {usual} that are usual beside "
            f"{len(splits.train)} to train on; put more there, or lay all under the training part, "
            "so that chance chooses"
        )


def require_pictures(train: ImageSet) -> None:
    """Refuse training images that are all one picture; as a rule the second one tells.

    Raises:
        DataError: They are.
    """
    first, places = train.images[:1], torch.arange(len(train))
    size = images_at_once(train.images, TOGETHER)
    if not any(bool((train.images[p] != first).any()) for p in (places[:2], *places.split(size))):
        raise DataError(
            f"{train.name}: all {len(train):,} training images are one picture, from which nothing "
            "can be learned; give others"
        )


def _calibrates(dataset: Dataset, splits: Splits, recipe: Recipe, promises: Promises) -> bool:
    """Whether there are calibration images; they must be enough for what is promised."""
    if len(splits.calibration) > 0:
        grouped = splits.calibration.groups is not None
        units = count_groups(splits.calibration)
        promises.check_images(units, len(dataset.classes), grouped=grouped)
        return True
    if recipe.rule == "calibrated" or promises.max_risk is not None:
        raise DataError(
            f"{dataset.name}: the calibrated rule needs calibration images; "
            "keep a share for calibration, or choose another rule"
        )
    return False


def _with_augmentation(recipe: Recipe, data: str, train: ImageSet) -> Recipe:
    """What ``auto`` stands for; none where features are computed once, of images as they are."""
    if recipe.augment != "auto":
        return recipe
    if recipe.freeze and recipe.views == 1:
        return replace(recipe, augment="none")
    side = max(train.images.shape[-2:])
    return replace(recipe, augment=suitable_augmentation(data, side))


def _with_extra(
    splits: Splits, asked: Asked, root: str, reporter: Reporter
) -> tuple[Splits, ImageSet | None]:
    """The splits with the extra images in the training part, and those images."""
    extra = asked.extra
    if extra is None:
        return splits, None
    train = splits.train
    if isinstance(extra, str | Path):
        more = read_labels(Path(extra), train.classes, train.preprocessing, reporter)
    elif isinstance(extra, ImageSet):
        more = extra
    else:
        reading = Reading(preprocessing=train.preprocessing)
        held = read_data_like(extra, reading, classes=train.classes, reporter=reporter)
        more = held.train.among(train.classes)
    if asked.grouping is not None:
        more = group_extra(more, root, asked.grouping, reporter)
    return join_extra(splits, more, reporter)


def split_digest(splits: Splits) -> str:
    """Which images are for what."""
    digest = hashlib.sha256()
    for index in (splits.train_indices, splits.calibration_indices):
        digest.update(index.numpy().tobytes())
    # Extra images have no index in the data set.
    digest.update(str(len(splits.train)).encode())
    return digest.hexdigest()
