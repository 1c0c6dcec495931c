"""Images that belong together: who says so, and that no split parts them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests_support import Told, stripes, write_folder

from nescio.data import (
    Dataset,
    Grouping,
    ImageSet,
    Reading,
    Splits,
    count_groups,
    describe_groups,
    group_images,
    join_extra,
    load,
    one_of_each,
    parts_of,
    read_split,
    split,
    split_by,
    tell_groups,
    write_split,
)
from nescio.data.grouping import group_extra
from nescio.errors import DataError, UsageError


def grouped(count: int, size: int, seed: int = 0) -> Dataset:
    """Stripes in groups of ``size``, each of one class."""
    images = stripes(3 * count * size, seed)
    order = images.require_labels().argsort(stable=True)
    return Dataset("s", replace(images.subset(order), groups=torch.arange(len(images)) // size))


def parted(splits: Splits) -> list[set[int]]:
    found = []
    for part in (splits.train, splits.calibration, splits.test):
        assert part.groups is not None
        found.append(set(part.groups.tolist()))
    return found


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=30),
    st.booleans(),
)
def test_no_group_is_parted_and_no_part_lacks_a_class(
    seed: int, groups: list[list[int]], calibrated: bool
) -> None:
    labels = torch.tensor([label for group in groups for label in group])
    which = torch.tensor([i for i, group in enumerate(groups) for _ in group])
    images = ImageSet(
        "s", torch.zeros(len(labels), 1, 1, 1).byte(), labels, tuple("abc"), groups=which
    )
    share = 0.1 * calibrated
    try:
        splits = split(Dataset("s", images), seed=seed, calibration=share, test=0.2)
    except DataError as error:
        assert "group" in str(error)  # noqa: PT017 - not every made set can be split
        counts = [len(which[labels == c].unique()) for c in range(3)]
        mixed = any(len(set(group)) > 1 for group in groups)
        assert mixed or min(counts) < 2 + calibrated
        return
    parts = parted(splits)
    assert sum(map(len, parts)) == len(groups)
    assert len(set.union(*parts)) == len(groups)
    for part in (splits.train, splits.test, *[splits.calibration] * calibrated):
        assert set(part.require_labels().tolist()) == {0, 1, 2}
    again = split(Dataset("s", images), seed=seed, calibration=share, test=0.2)
    assert torch.equal(again.train_indices, splits.train_indices)
    assert torch.equal(
        split_by(Dataset("s", images), parts_of(splits)).test.images, splits.test.images
    )


def test_each_class_gives_its_share_of_groups_whatever_their_size() -> None:
    splits = split(grouped(20, 3), seed=1, calibration=0.25, test=0.2)
    for part, groups in ((splits.test, 4), (splits.calibration, 4), (splits.train, 12)):
        labels = part.require_labels()
        assert torch.bincount(labels).tolist() == [3 * groups] * 3
    assert describe_groups(splits) == (
        "60 groups of 180 images, each in one part: 36 to train on, 12 to calibrate by, "
        "12 to evaluate on"
    )
    other = split(grouped(20, 3), seed=2, calibration=0.25, test=0.2)
    assert parted(other) != parted(splits)


def test_classes_without_enough_groups_are_all_named() -> None:
    dataset = grouped(9, 2)
    groups = dataset.train.groups
    assert groups is not None
    groups[:18], groups[18:36] = 0, torch.arange(18) // 9 + 100
    with pytest.raises(DataError, match="'left' has 1 group, class 'right' has 2 groups, too few"):
        split(dataset, calibration=0.1, test=0.1)
    # One group holds the only images of two classes twice over: no deal can serve all parts.
    groups[:] = torch.arange(54) % 2
    with pytest.raises(DataError, match="has 2 groups"):
        split(dataset, calibration=0.1, test=0.1)


def test_without_groups_a_split_is_what_it_was() -> None:
    splits = split(Dataset("s", stripes(60, 0)), seed=3, calibration=0.2, test=0.2)
    # As the version before groups split it.
    assert splits.test_indices is not None
    assert splits.test_indices.tolist() == FORMER_TEST
    assert splits.calibration_indices.tolist() == FORMER_CALIBRATION


FORMER_TEST = [4, 8, 14, 18, 27, 31, 32, 36, 43, 46, 47, 51]
FORMER_CALIBRATION = [3, 22, 23, 28, 30, 40, 44, 50, 54]


@pytest.mark.parametrize(
    ("pattern", "group"),
    [
        (r"patient(\d+)", "7"),
        (r"patient\d+", "patient7"),
        (r"patient(\d+)/eye_(left|right)", "7/left"),
        (r"film_(\w+)|patient(\d+)", "7"),
    ],
)
def test_a_group_is_what_the_pattern_finds(tmp_path: Path, pattern: str, group: str) -> None:
    images = replace(stripes(1, 0), names=(str(tmp_path / "cat/patient7/eye_left_03.png"),))
    other = replace(images, names=("elsewhere/patient7/eye_left_9.png",))
    found = group_images(Dataset("d", images, root=str(tmp_path)), Grouping(pattern)).train.groups
    assert found is not None
    named = tmp_path / "groups.csv"
    named.write_text(f"image,group\n./cat/patient7/eye_left_03.png,{group}\n")
    same = group_images(Dataset("d", images, root=str(tmp_path)), Grouping(file=named))
    assert torch.equal(found, same.train.groups)  # of one name, by whatever way
    assert torch.equal(found, group_images(Dataset("d", other), Grouping(pattern)).train.groups)


def test_images_without_a_group_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "d", stripes(30, 0))
    dataset = load(folder)
    with pytest.raises(
        DataError, match=r"20 of 30 images .* 'right/0001.png'\); widen the pattern"
    ):
        group_images(dataset, Grouping("left/"))
    # What matches everywhere without finding anything would be one group of all.
    with pytest.raises(DataError, match="30 of 30 images"):
        group_images(dataset, Grouping("x*"))
    table = tmp_path / "groups.csv"
    table.write_text("image,group\nleft/0000.png,a\nnever/seen.png,b\n")
    with pytest.raises(DataError, match=r"29 of 30 images .*give each a line, image,group"):
        group_images(dataset, Grouping(file=table))
    for rows, message in (
        ("left/0000.png,a\nleft/0000.png,b\n", "line 3: .* already, on line 2"),
        ("left/0000.png,\n", "line 2: the group is not named"),
        (",a\n", "line 2: the image is not named"),
        ("left/0000.png\n", "line 2: expected an image and a group"),
    ):
        table.write_text("image,group\n" + rows)
        with pytest.raises(DataError, match=message):
            group_images(dataset, Grouping(file=table))
    for bad in ({"pattern": "("}, {}, {"pattern": "a", "file": table}):
        with pytest.raises(UsageError):
            Grouping(**bad)
    streamed = load(folder, reading=Reading(stream=True, workers=0))
    assert count_groups(group_images(streamed, Grouping("[^/]+")).train) == 3


def test_a_split_file_must_not_part_a_group(tmp_path: Path) -> None:
    dataset = grouped(9, 2)
    file = tmp_path / "split.csv"
    write_split(file, dataset, split(dataset, calibration=0.2, test=0.2))
    told = Told()
    tell_groups("s", read_split(file, dataset)[0], told)
    assert "27 groups of 54 images, each in one part" in told.notes[0]
    rows = file.read_text().splitlines()
    at = next(i for i, row in enumerate(rows) if row.endswith("calibration"))
    rows[at] = rows[at].replace("calibration", "train")
    file.write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"1 images for calibration .* put all images of a group"):
        tell_groups("s", read_split(file, dataset)[0], told)


def test_groups_in_a_test_folder_too_are_told(tmp_path: Path) -> None:
    write_folder(tmp_path / "d/train", stripes(30, 0))
    write_folder(tmp_path / "d/test", stripes(12, 1))
    told = Told()
    dataset = group_images(load(tmp_path / "d"), Grouping(r"\d{3}\d"), told)
    tell_groups("d", split(dataset, calibration=0.2, test=0.0), told)
    assert any(
        "12 of its 12 test images" in n and "nothing about new groups" in n for n in told.notes
    )
    assert any("every image is a group of its own" in note for note in told.notes)
    table = tmp_path / "groups.csv"
    table.write_text(
        "image,group\n"
        + "\n".join(
            f"{Path(n).relative_to(tmp_path / 'd').as_posix()},{i // 6}"
            for i, n in enumerate(dataset.train.names)
        )
    )
    told = Told()
    ungrouped = group_images(load(tmp_path / "d"), Grouping(file=table), told)
    assert ungrouped.test is not None
    assert ungrouped.test.groups is None
    assert "12 of 12 images" in told.notes[0]


def test_extra_images_of_held_out_groups_are_left_out() -> None:
    dataset = grouped(9, 2)
    splits = split(dataset, calibration=0.2, test=0.2)
    assert splits.calibration.groups is not None
    held = int(splits.calibration.groups[0])
    extra = replace(stripes(6, 5, "more"), groups=torch.tensor([held, -1, -2, held, -3, -4]))
    told = Told()
    joined, new = join_extra(splits, extra, told)
    assert len(new) == 4
    assert len(joined.train) == len(splits.train) + 4
    assert "2 of 6 images are of groups that are held out of training" in told.notes[0]
    joined, new = join_extra(splits, replace(extra, groups=None), told)
    assert count_groups(joined.train) == count_groups(splits.train) + 6
    named = replace(extra, names=("a/x1.png", "b", "c", "d", "e", "x1"), groups=None)
    found = group_extra(named, "", Grouping("x1"), told).groups
    assert found is not None
    assert len(found.unique()) == 5
    assert found[0] == found[5]
    assert "4 of 6 images of more have no group (the first is b)" in told.notes[-1]


def test_one_image_of_each_group_stands_for_it() -> None:
    images = grouped(4, 5).train
    drawn = [one_of_each(images, torch.Generator().manual_seed(seed)) for seed in range(200)]
    counts = torch.zeros(len(images))
    for some in drawn:
        assert some.groups is not None
        assert torch.equal(some.groups, torch.arange(12))
        places = [int(name.split("[")[1][:-1]) for name in some.names]
        counts += torch.tensor([name in {*places} for name in original_places(images)])
    # Every image of a group as often: 40 times in 200, give or take.
    assert counts.min() > 15
    assert counts.max() < 70
    assert one_of_each(replace(images, groups=None), torch.Generator()).groups is None
    with pytest.raises(DataError, match="60 images need 60 groups"):
        replace(images, groups=torch.arange(59))


def original_places(images: ImageSet) -> list[int]:
    return [int(name.split("[")[1][:-1]) for name in images.names]


def test_groups_beside_a_validation_folder(tmp_path: Path) -> None:
    for part, count, seed in (("train", 90, 1), ("val", 30, 2)):
        for i, file in enumerate(
            sorted(write_folder(tmp_path / "d" / part, stripes(count, seed)).rglob("*.png"))
        ):
            file.rename(file.with_name(f"{part}-{i // 5}-{i}.png"))
    dataset = group_images(load(tmp_path / "d"), Grouping(r"/(\w+-\d+)-"))
    splits = split(dataset, seed=1, calibration=0.1, test=0.2)
    tell_groups("d", splits, told := Told())
    assert "24 groups of 120 images, each in one part: 15 to train on, 6 to" in told.notes[0]
    assert torch.equal(splits.calibration_indices, dataset.validation.nonzero().flatten())
    crossing = group_images(load(tmp_path / "d"), Grouping(r"\w+-(\d+)-"))
    with pytest.raises(DataError, match=r"30 images for calibration .* in another part"):
        tell_groups("d", split(crossing, calibration=0.1, test=0.2), told)
