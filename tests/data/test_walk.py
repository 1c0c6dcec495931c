"""What lies below a folder: each folder once, and nothing left out without a word."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests_support import Told

from nescio.data import Reading, list_images, load
from nescio.data.walk import walk_folder
from nescio.errors import DataError


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), 100).save(path, "PNG")
    return path


def names(root: Path, told: Told | None = None) -> list[str]:
    found = list_images(root, told or Told())
    return [path.relative_to(root).as_posix() for path in found]


def test_linked_folders_are_walked_once(tmp_path: Path) -> None:
    folders = ["A", "B", "C", "D"]
    for name in folders:
        picture(tmp_path / name / "0.png")
    for name in folders:
        for other in folders:
            if other != name:
                (tmp_path / name / f"to{other}").symlink_to(tmp_path / other)
    told = Told()
    assert names(tmp_path, told) == [f"{name}/0.png" for name in folders]
    assert told.notes == [
        f"{tmp_path}: 12 links are not followed: what it leads to is read already, or holds the "
        "link (the first is A/toB)"
    ]


def test_a_link_takes_nothing_from_where_it_leads(tmp_path: Path) -> None:
    # It sorts before the folder that it leads to, which still is the one that counts.
    picture(tmp_path / "set" / "b" / "0.png")
    picture(tmp_path / "set" / "c" / "0.png")
    (tmp_path / "set" / "b" / "a").symlink_to(tmp_path / "set" / "c")
    picture(tmp_path / "beside" / "deep" / "1.png")
    (tmp_path / "set" / "up").symlink_to(tmp_path)
    (tmp_path / "set" / "d").symlink_to(tmp_path / "beside")
    (tmp_path / "beside" / "round").symlink_to(tmp_path)
    assert names(tmp_path / "set") == ["b/0.png", "c/0.png", "d/deep/1.png"]


def test_links_to_files_and_to_nowhere(tmp_path: Path) -> None:
    original = picture(tmp_path / "elsewhere" / "x.png")
    root = tmp_path / "set"
    root.mkdir()
    (root / "link.png").symlink_to(original)
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "self.png").symlink_to(root / "self.png")
    (root / "gone").symlink_to(tmp_path / "nowhere")
    told = Told()
    # A broken link is told of when it is read, by name; one without an ending, as any such file.
    assert names(root, told) == ["gone.png", "link.png", "self.png"]
    assert "1 file is skipped: " in told.notes[0]
    assert "(1 without ending; the first is gone)" in told.notes[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes by name here")
def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    picture(tmp_path / "0.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    told = Told()
    assert names(tmp_path, told) == ["0.png"]
    assert "2 files are skipped" in told.notes[0]


def test_endings_and_first_bytes(tmp_path: Path) -> None:
    for name in ("a.jfif", "b.JPE", "c.png"):
        picture(tmp_path / name)
    picture(tmp_path / "photo")
    picture(tmp_path / "scan.bin")
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "notes").write_text("no image")
    (tmp_path / ".hidden").write_bytes((tmp_path / "photo").read_bytes())
    told = Told()
    assert names(tmp_path, told) == ["a.jfif", "b.JPE", "c.png"]
    (note,) = told.notes
    assert "5 files are skipped" in note
    assert "(3 without ending, 1 .bin, 1 .heic; the first is notes)" in note
    assert "2 of them are images by the first bytes (the first is photo)" in note
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"none: no images .*there are other files \(1 \.heic\)"):
        load(tmp_path / "none", labelled=False)


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data set with a folder that cannot be opened, by whoever runs the tests."""
    for name in ("a", "b"):
        for i in range(3):
            picture(tmp_path / name / f"{i}.png")
    sub = tmp_path / "a" / "sub"
    picture(sub / "3.png")
    if os.access(sub, os.R_OK) and hasattr(os, "geteuid") and os.geteuid() == 0:
        scan = os.scandir

        def refuse(folder: Path) -> object:
            if not Path(folder).stat().st_mode & stat.S_IRUSR:
                raise PermissionError(13, "Permission denied", str(folder))
            return scan(folder)

        monkeypatch.setattr("nescio.data.walk.os.scandir", refuse)
    sub.chmod(0o000)
    yield tmp_path
    sub.chmod(0o700)


def test_a_folder_that_cannot_be_opened(closed: Path) -> None:
    expected = r"sub: this folder cannot be opened \(Permission denied\); .*--skip-unreadable"
    with pytest.raises(DataError, match=expected):
        load(closed)
    with pytest.raises(DataError, match=expected):
        list_images(closed)
    told = Told()
    data = load(closed, reading=Reading(skip_unreadable=True), reporter=told)
    assert len(data.train) == 6
    assert any("sub: this folder cannot be opened" in n and "left out" in n for n in told.notes)
    assert len(list_images(closed, skip_unreadable=True)) == 6
    # What a system left is nobody's; the root itself cannot be left out.
    (closed / "a" / "sub").rename(closed / "a" / "lost+found")
    assert len(load(closed).train) == 6
    (closed / "a" / "lost+found").rename(closed / "a" / "sub")
    with pytest.raises(DataError, match="cannot be opened"):
        walk_folder(closed / "a" / "sub").require_open(Told(), skip=True)
