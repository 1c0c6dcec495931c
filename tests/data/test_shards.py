"""WebDataset shards, made by hand, well and ill."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_support import Told, png, stripes, write_shards, write_tar

from nescio.data import Reading, Rows, load, read_all
from nescio.data import members as tar_members
from nescio.data.shards import expand
from nescio.errors import DataError, UnreadableImage


def test_images_and_labels_come_back(tmp_path: Path) -> None:
    images = stripes(10, 0)
    pattern = write_shards(tmp_path, images)
    told = Told()
    dataset = load(pattern, reporter=told)
    assert (dataset.name, dataset.classes) == ("set", ("0", "1", "2"))
    assert torch.equal(read_all(dataset.train.images), images.images)
    assert torch.equal(dataset.train.require_labels(), images.require_labels())
    assert dataset.train.image_name(5) == "set-001.tar/part/00005.PNG"
    assert told.notes == []
    for other in (f"{tmp_path}/set-*.tar", f"{tmp_path}/set-00{{0,1,2}}.tar"):
        assert load(other).train.fingerprint() == dataset.train.fingerprint()
    assert len(load(f"{tmp_path}/set-001.tar").train) == 4


def test_class_names(tmp_path: Path) -> None:
    images = stripes(6, 0)
    dataset = load(write_shards(tmp_path, images, names=True))
    assert dataset.classes == ("left", "right", "top")
    assert torch.equal(dataset.train.require_labels(), images.require_labels())


def test_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    pattern = write_shards(tmp_path, stripes(10, 0))
    kept = load(pattern, reading=Reading(memory=0)).train
    assert isinstance(kept.images, Rows)
    assert kept.fingerprint() == load(pattern).train.fingerprint()


def test_without_labels(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("0.png", png(np.zeros((2, 2), np.uint8)))])
    with pytest.raises(DataError, match=r"'0\.png' has no label; put one beside it, as KEY\.cls"):
        load(tmp_path / "a.tar")
    assert load(tmp_path / "a.tar", labelled=False).train.labels is None


BLACK = png(np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "no images in these 1 shards"),
        ([("a.txt", b"x")], "no images in these 1 shards"),
        ([("a.png", BLACK), ("a.jpg", BLACK)], "two images have the key 'a'"),
        ([("a.png", BLACK), ("a.cls", b"\xff")], r"'a\.cls' is no label in UTF-8"),
        ([("a.png", BLACK), ("a.json", b"{")], r"'a\.json' is no label in UTF-8"),
        ([("a.png", BLACK), ("a.json", b"[" * 200_000)], r"'a\.json' is no label in UTF-8"),
        ([("a.png", BLACK), ("a.json", b'{"label": 1.5}')], "must be a class number or name"),
        ([("a.png", BLACK), ("a.cls", b"")], "must be a class number or name"),
        ([("a.png", BLACK), ("a.cls", b"-1")], "no image has a label"),
        ([("a.png", BLACK), ("a.cls", bytes(2**21))], "too large for a label"),
        ([("a.png", BLACK), ("a.json", b"{}")], "'a.png' has no label"),
    ],
)
def test_shards_that_cannot_be_used(
    tmp_path: Path, members: list[tuple[str, bytes]], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(write_tar(tmp_path / "a.tar", members))
    assert "\n" not in str(caught.value)


def test_no_tar_a_cut_one_and_a_compressed_one(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", [("a.png", bytes(2000)), ("a.cls", b"0")])
    whole.write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"a\.tar: it ends within 'a\.png'"):
        load(whole)
    (tmp_path / "b.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(DataError, match=r"b\.tar: not a readable tar file, uncompressed"):
        load(tmp_path / "b.tar")
    with tarfile.open(tmp_path / "c.tar", "w:gz"):
        pass
    with pytest.raises(DataError, match=r"c\.tar: not a readable tar file, uncompressed"):
        load(tmp_path / "c.tar")


def test_hostile_members_are_neither_followed_nor_extracted(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(BLACK)
    path = tmp_path / "in" / "a.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"link{ord(kind)}.png")
            member.type, member.linkname = kind, "../secret.png"
            archive.addfile(member)
        for name in ("../../escaped.png", "/absolute.png", "__MACOSX/._x.png", ".hidden.png"):
            member = tarfile.TarInfo(name)
            member.size = len(BLACK)
            archive.addfile(member, io.BytesIO(BLACK))
    told = Told()
    images = load(path, labelled=False, reporter=told).train
    assert images.names == ("a.tar//absolute.png",)
    assert told.notes == [f"{path}: members that are not used: 4 links and the like, 3 hidden"]
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a.tar", "in", "secret.png"]


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a.png")
    member.size = 2**40
    (tmp_path / "a.tar").write_bytes(member.tobuf() + BLACK)
    with pytest.raises(DataError, match=r"a\.tar"):
        load(tmp_path / "a.tar", labelled=False)


def test_an_unreadable_image_is_named_and_may_be_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [("0.png", BLACK), ("0.cls", b"0"), ("1.png", b"x" * 99), ("1.cls", b"1")]
    members += [("2.png", png(np.ones((2, 2), np.uint8))), ("2.cls", b"1")]
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(UnreadableImage, match=r"a\.tar/1\.png: not an image"):
        load(path)
    kept = load(path, reading=Reading(skip_unreadable=True)).train
    assert kept.names == ("a.tar/0.png", "a.tar/2.png")
    assert kept.require_labels().tolist() == [0, 1]
    monkeypatch.setattr(tar_members, "LARGEST_IMAGE", 90)
    with pytest.raises(UnreadableImage, match=r"a\.tar/1\.png: 99 bytes are no image"):
        load(path, reading=Reading(image_size=2, colour="grey"))


def test_patterns(tmp_path: Path) -> None:
    for name in ("s-08.tar", "s-09.tar", "s-10.tar", "odd{1}.tar"):
        (tmp_path / name).write_bytes(b"")
    names = [path.name for path in expand(f"{tmp_path}/s-{{08..10}}.tar")]
    assert names == ["s-08.tar", "s-09.tar", "s-10.tar"]
    assert [path.name for path in expand(f"{tmp_path}/s-*.tar")] == names
    assert [path.name for path in expand(f"{tmp_path}/odd{{1}}.tar")] == ["odd{1}.tar"]
    with pytest.raises(DataError, match=r"s-11\.tar: there is no such shard"):
        expand(f"{tmp_path}/s-{{08..11}}.tar")
    with pytest.raises(DataError, match="there is no such shard"):
        expand(f"{tmp_path}/t-*.tar")
    for endless in ("{0..999999999999}", "{2..1}", "{0..9999}{0..9999}"):
        with pytest.raises(DataError, match="stands for no shard, or for more than"):
            expand(f"{tmp_path}/s-{endless}.tar")


def test_a_dot_in_a_name_is_told_and_loses_no_row(tmp_path: Path) -> None:
    members = [("x.png", BLACK), ("x.cls", b"0")]
    for name in ("in/a.b0", "in/a.b1"):
        members += [(f"{name}.png", BLACK), (f"{name}.cls", b"1")]
    path = write_tar(tmp_path / "a.tar", members)
    for labelled in (True, False):
        with pytest.raises(DataError, match=r"'in/a\.b0\.png' .* part of 'in/a'; name it 'in/a_b0"):
            load(path, labelled=labelled)


def test_what_is_not_used_is_told_by_kind(tmp_path: Path) -> None:
    members = [("0.png", BLACK), ("0.mask.png", BLACK), ("0.cls", b"0"), ("0.txt", b"a")]
    members += [("1.png", BLACK), ("1.cls", b"1"), ("1.json", b"{}"), ("2.cls", b"1"), ("r", b"")]
    told = Told()
    path = write_tar(tmp_path / "a.tar", members)
    assert len(load(path, reporter=told).train) == 2
    kinds = (
        "1 .cls without an image, 1 .json without a label, 1 .mask.png, 1 .txt, 1 without ending"
    )
    assert told.notes == [f"{path}: members that are not used: {kinds}"]
    with pytest.raises(DataError, match=r"no images in these 1 shards; they hold 2 \.txt"):
        load(write_tar(tmp_path / "b.tar", [("a.txt", b"x"), ("b.txt", b"x")]))


def test_labels_stay_what_is_written(tmp_path: Path) -> None:
    texts = ("0", "1", "01", "2", "00")
    members = [(f"{i}.png", BLACK) for i in range(5)]
    members += [(f"{i}.cls", text.encode()) for i, text in enumerate(texts)]
    members.append(("0.json", b'{"label": "another word for it"}'))
    found = load(write_tar(tmp_path / "a.tar", members)).train
    assert found.classes == ("0", "00", "01", "1", "2")
    assert [found.classes[i] for i in found.require_labels().tolist()] == [*texts]


def test_shards_of_parts(tmp_path: Path) -> None:
    for part, labels in (("train", "0101"), ("val", "01"), ("test", "10")):
        members = [(f"{i}.png", BLACK) for i in range(len(labels))]
        members += [(f"{i}.cls", label.encode()) for i, label in enumerate(labels)]
        write_tar(tmp_path / f"set-{part}-000.tar", members)
    dataset = load(tmp_path / "set-*.tar")
    assert dataset.test is not None
    assert dataset.validation is not None
    assert dataset.validation.tolist() == [False] * 4 + [True] * 2
    assert dataset.test.require_labels().tolist() == [1, 0]
    assert len(load(tmp_path / "set-*.tar", labelled=False).train) == 8
    # A part without any label is left out; an image without one among others may have lost it.
    write_tar(tmp_path / "set-test-000.tar", [("0.png", BLACK)])
    told = Told()
    assert load(tmp_path / "set-*.tar", reporter=told).test is None
    assert "set: its test part has no labels and is left out (1 image)" in told.notes
    write_tar(tmp_path / "set-val-000.tar", [("0.png", BLACK), ("1.png", BLACK), ("1.cls", b"0")])
    with pytest.raises(DataError, match=r"'0\.png' has no label; put one beside it"):
        load(tmp_path / "set-*.tar")


def test_no_label_is_needed_to_answer(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("0.png", BLACK), ("0.cls", b"\xff")])
    assert load(path, labelled=False).train.labels is None
