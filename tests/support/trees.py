"""Folder trees as people leave them, and what commands must make of them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

PARTS = {
    "train": ("train", "Training", "TRN", "train_set"),
    "calibration": ("val", "Valid", "VALIDATION", "dev", "val2017"),
    "test": ("test", "Testing", "HoldOut", "test-images"),
}
ENDINGS = (".png", ".PNG", ".jpg", ".jfif", ".bmp", ".gif")
FOREIGN = ("a.heic", "notes.txt", "README", "film.mp4", "x.npy", "page.html", "table.csv", "a.b.c")
HIDDEN = (".hidden.png", "Thumbs.db", ".DS_Store", "desktop.ini")
ODD = ("with space", "-n", "ünï", "a'b\"c", "x.y", "#1", "%s", "{}", "line\nbreak", "esc\x1b[31m")
NOT_UTF8 = ("caf\udce9", "\udcff\udcfe")
NAMES = (*ODD, *(NOT_UTF8 if sys.platform == "linux" else ()), "cat", "Dog", "10", "9")


Files: TypeAlias = dict[tuple[str, str], list[Path]]
"""Image files by part and class."""


@dataclass(frozen=True)
class Made:
    """A tree, and what is in it.

    Attributes:
        root: The folder.
        parts: What its parts are called.
        good: Image files by part and class.
        bad: Those that cannot be decoded, likewise.
        others: How many other files there are.
        closed: Folders that cannot be opened.
        links: How many links to folders lead back into the tree.
        empty: Class folders with no images, by their names.
    """

    root: Path
    parts: Mapping[str, str]
    good: Files
    bad: Files
    others: int
    closed: tuple[Path, ...]
    links: int
    empty: tuple[str, ...]

    def images(self) -> list[Path]:
        """All image files, readable or not."""
        return [file for kind in (self.good, self.bad) for own in kind.values() for file in own]


@dataclass(frozen=True)
class Plan:
    """What a tree is made from."""

    layout: str
    parts: dict[str, str]
    classes: list[str]
    counts: list[list[int]]
    bad: list[int]
    foreign: list[int]
    hidden: list[int]
    links: int
    outside: bool
    closed: bool
    deep: bool


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """What people might have: odd names, parts, rare classes, links, files of other kinds."""
    layout = draw(st.sampled_from(["plain", "plain", "above", "inside"]))
    parts = {"train": ""}
    if layout != "plain":
        kinds = [
            "train",
            *draw(st.sampled_from([["calibration"], ["test"], ["calibration", "test"]])),
        ]
        parts = {kind: draw(st.sampled_from(PARTS[kind])) for kind in kinds}
    classes = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    few = st.sampled_from([0, 1, 2, 3, 4, 4, 5, 6])
    return Plan(
        layout,
        parts,
        classes,
        [[draw(few) for _ in classes] for _ in parts],
        [draw(st.sampled_from([0, 0, 0, 1])) for _ in classes],
        draw(st.lists(st.integers(0, len(FOREIGN) - 1), max_size=3, unique=True)),
        draw(st.lists(st.integers(0, len(HIDDEN) - 1), max_size=2, unique=True)),
        draw(st.integers(0, 2)),
        draw(st.booleans()),
        draw(st.sampled_from([False, False, False, True])),
        draw(st.booleans()),
    )


def build(plan: Plan, root: Path) -> Made:
    """Write the tree."""
    root.mkdir(parents=True)
    good, bad = _write_images(plan, root)
    filled = [own[0].parent for own in good.values()]
    others = _write_others(plan, root, filled)
    links = min(plan.links, len(filled))
    for number in range(links):
        (filled[number] / f"link{number}").symlink_to((filled[-1], root)[number % 2])
    closed: tuple[Path, ...] = ()
    if plan.outside and filled:
        picture(root.parent / "outside" / "0.png", 250)
        (filled[0] / "outward").symlink_to(root.parent / "outside")
        next(iter(good.values())).append(filled[0] / "outward" / "0.png")
    if plan.closed and filled:
        closed = (filled[0] / "closed",)
        picture(closed[0] / "0.png", 251).parent.chmod(0o000)
    part = None if plan.layout == "inside" else "train"
    there = {name for own, name in [*good, *bad] if part in (None, own)}
    empty = tuple(name for name in plan.classes if name not in there)
    parts = {} if plan.layout == "plain" else plan.parts
    return Made(root, parts, good, bad, others, closed, links, empty)


def _write_images(plan: Plan, root: Path) -> tuple[Files, Files]:
    """Those that can be read, and those that cannot."""
    good: Files = {}
    bad: Files = {}
    seed = 0
    for row, (part, called) in zip(plan.counts, plan.parts.items(), strict=True):
        for number, name in enumerate(plan.classes):
            inside = plan.layout == "inside"
            folder = root / name / called if inside else root / called / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(row[number]):
                below = folder / "deeper" if plan.deep and i % 2 else folder
                seed += 1
                file = picture(below / f"{i}{ENDINGS[seed % len(ENDINGS)]}", seed)
                good.setdefault((part, name), []).append(file)
            if part == "train" and plan.bad[number] and row[number]:
                file = folder / "bad.png"
                file.write_bytes(b"" if number % 2 else b"no image at all")
                bad.setdefault((part, name), []).append(file)
    return good, bad


def _write_others(plan: Plan, root: Path, filled: list[Path]) -> int:
    """Files that are no images, and how many there are."""
    for place, number in enumerate(plan.foreign):
        target = filled[0] if filled and place % 2 else root
        (target / FOREIGN[number]).write_bytes(b"whatever")
    for number in plan.hidden:
        (root / HIDDEN[number]).write_bytes(b"left by a system")
    return len(plan.foreign) + len(plan.hidden)


def picture(path: Path, seed: int) -> Path:
    """An image of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    kind = {".jpg": "JPEG", ".jfif": "JPEG"}.get(path.suffix.lower(), path.suffix[1:].upper())
    with path.open("wb") as file:
        Image.fromarray(pixels).save(file, kind)
    return path


@contextmanager
def refusing() -> Iterator[None]:
    """Folders without permissions are closed to whoever runs the tests, root too."""
    scan = os.scandir

    def refuse(folder: Path) -> object:
        if not Path(folder).stat().st_mode & stat.S_IRUSR:
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nescio.data.walk.os.scandir", refuse)
        yield
