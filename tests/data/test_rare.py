"""Classes with too few images: told all at once, or left out of all parts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests_support import QUICK, Told, stripes, write_folder

import nescio
from nescio.classifier import familiar_set, load_model
from nescio.data import Dataset, ImageSet, Reading, drop_rare, load, split
from nescio.errors import DataError


def of_counts(*counts: int) -> ImageSet:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = torch.arange(sum(counts) * 4).remainder(251).to(torch.uint8).reshape(-1, 1, 2, 2)
    return ImageSet("some", images, labels, tuple(f"c{i}" for i in range(len(counts))))


SHARES = {"calibration": 0.1, "test": 0.15}


def test_all_are_told_at_once() -> None:
    data = Dataset("some", of_counts(9, 1, 3, 2, 0))
    message = (
        r"some: class 'c1' has 1 image, 'c3' has 2 images, 'c4' has 0 images, too few for each of "
        r"3 parts to get one; give every class at least 3, or leave such classes .*--drop-rare"
    )
    with pytest.raises(DataError, match=message):
        split(data, **SHARES)
    many = Dataset("some", of_counts(*[1] * 20))
    with pytest.raises(DataError, match="'c11' has 1 image and 8 more likewise, too few"):
        split(many, **SHARES)


def test_what_is_left_out_is_told_and_the_rest_keeps_its_labels() -> None:
    test = replace(of_counts(2, 2, 2, 2), name="test")
    held = torch.zeros(15, dtype=torch.bool)
    held[:3] = held[9:11] = True
    data = Dataset("some", of_counts(9, 1, 3, 2), test, validation=held)
    told = Told()
    # The only image of c1 is held out; one of c3 would be enough, as all parts are there.
    rest, dropped = drop_rare(data, **SHARES, reporter=told)
    assert dropped == ("c1",)
    assert rest.validation is not None
    assert rest.validation.nonzero().flatten().tolist() == [0, 1, 2, 9]
    assert rest.classes == ("c0", "c2", "c3")
    assert rest.train.require_labels().tolist() == [0] * 9 + [1] * 3 + [2] * 2
    assert torch.equal(rest.train.images[9], data.train.images[10])
    assert rest.test is not None
    assert rest.test.require_labels().tolist() == [0, 0, 1, 1, 2, 2]
    assert (
        "1 of 4 classes have too few images, and are left out with them: c1 (0)" in told.notes[-1]
    )
    with pytest.raises(DataError, match="--drop-rare leaves 1 of 3 classes"):
        drop_rare(Dataset("some", of_counts(9, 1, 1)), **SHARES, reporter=told)


def test_groups_count_where_images_belong_together() -> None:
    images = of_counts(9, 4, 9)
    groups = torch.cat([torch.arange(9), torch.full((4,), 9), torch.arange(10, 19)])
    _, dropped = drop_rare(
        Dataset("some", replace(images, groups=groups)), **SHARES, reporter=Told()
    )
    assert dropped == ("c1",)


def test_a_model_judges_the_same_data_without_what_training_left_out(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", stripes(60, 0))
    write_folder(root, replace(stripes(4, 1), classes=("rare", "rarer", "rarest")))
    (root / "empty").mkdir()
    with pytest.raises(DataError, match=r"the class 'empty' has no images; .*--drop-rare"):
        load(root)
    told = Told()
    fitted = nescio.fit(
        "mlp",
        str(root),
        recipe=replace(QUICK, epochs=1),
        samples=2,
        reading=Reading(drop_rare=True),
        reporter=told,
    )
    assert fitted.classes == ("left", "right", "top")
    assert any("classes without images are left out: empty" in note for note in told.notes)
    path = tmp_path / "m.nescio"
    fitted.save(path)
    model = load_model(path)
    assert model.record.dropped == ("rare", "rarer", "rarest")
    told = Told()
    judged = familiar_set(model, str(root), told)
    assert len(judged) == 9
    assert any("left out here, too: rare, rarer, rarest" in note for note in told.notes)
