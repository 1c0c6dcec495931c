"""Which image files of a folder are for which part, and of which class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nescio.data.class_numbers import natural_key
from nescio.data.labelling import read_file_labels
from nescio.data.layout import TRAIN, find_layout, find_parts, find_test
from nescio.data.walk import Tree


@dataclass(frozen=True)
class Part:
    """Images of one part.

    Attributes:
        files: Their files.
        labels: The class of each; ``None`` where they have none.
        classes: The class names; none where the images have no labels.
    """

    files: tuple[Path, ...]
    labels: tuple[str, ...] | None
    classes: tuple[str, ...]

    def before(self, other: Part | None) -> Part:
        """These images, and then those of another part."""
        if other is None:
            return self
        labels = None if self.labels is None else (*self.labels, *(other.labels or ()))
        return replace(self, files=(*self.files, *other.files), labels=labels)


@dataclass(frozen=True)
class SortedOut:
    """Which files of a folder are for what.

    Attributes:
        parts: The images of each part; of one, where labels are not needed.
        names: What the parts are called in the folder; empty where it has none.
        others: Files that are no images, or in no class.
        notes: What else is to be told.
    """

    parts: Mapping[str, Part]
    names: Mapping[str, str]
    others: Sequence[Path]
    notes: tuple[str, ...] = ()


def sort_by_folders(tree: Tree) -> SortedOut:
    """Each image in a part and a class.

    Raises:
        DataError: Folders can be read in more than one way.
    """
    layout = find_layout(tree)
    files: dict[str, list[Path]] = {part: [] for part in layout.parts or (TRAIN,)}
    labels: dict[str, list[str]] = {part: [] for part in files}
    others = list(tree.others)
    flat = 0
    for image in tree.images:
        names = tree.parts(image)
        place = layout.place(names)
        if place is not None:
            files[place[0]].append(image)
            labels[place[0]].append(place[1])
        elif names[0] in layout.flat:
            flat += 1
        else:
            others.append(image)
    above = tree.root if layout.inside or not layout.parts else tree.root / layout.parts[TRAIN]
    closed = {each.folder for each in tree.closed}
    # A class without images is told of, and not left out in silence.
    folders = {f.name for f in tree.folders if f.parent == above and f not in closed}
    if layout.inside:
        folders -= {label for own in labels.values() for label in own}
    parts = {
        part: Part(
            tuple(files[part]),
            tuple(labels[part]),
            _in_order({*labels[part], *(folders if part == TRAIN else ())}),
        )
        for part in files
    }
    note = (
        f"{tree.root}: the {flat} images of {', '.join(layout.flat)} lie in no class folders, so "
        "that they have no labels, and are left out; predict needs none"
    )
    return SortedOut(parts, layout.parts, others, (note,) if flat else ())


def sort_by_file(tree: Tree, labels: Path, *, skip_missing: bool) -> SortedOut:
    """The images that a CSV file labels; in folders of parts, if all lie in such.

    Args:
        tree: What lies below the folder.
        labels: The file, see :func:`nescio.data.labelling.read_file_labels`.
        skip_missing: Whether to leave out lines of images that are not there.

    Raises:
        DataError: The file is missing or no such table, or names other images.
    """
    found = read_file_labels(labels, tree, skip_missing=skip_missing)
    names = find_parts(tree)
    called = {name: part for part, name in names.items()}
    files: dict[str, list[Path]] = {part: [] for part in names or (TRAIN,)}
    for image in tree.images:
        if image in found.labels:
            files[called.get(tree.parts(image)[0], TRAIN)].append(image)
    classes = {part: tuple(found.labels[file] for file in own) for part, own in files.items()}
    parts = {p: Part(tuple(files[p]), classes[p], _in_order({*classes[p]})) for p in files}
    others = [path for path in tree.others if path.resolve() != labels.resolve()]
    return SortedOut(parts, names, others, found.notes)


def sort_without_labels(tree: Tree) -> SortedOut:
    """All images, or those of the test part, where there are training and test folders.

    The folders just above the images' own are classes, where all images lie in such.
    """
    test = find_test(tree)
    chosen = [image for image in tree.images if test is None or tree.parts(image)[0] == test]
    names = [tree.parts(image)[0 if test is None else 1 :] for image in chosen]
    labels = tuple(each[0] for each in names) if all(len(each) > 1 for each in names) else None
    part = Part(tuple(chosen), labels, () if labels is None else _in_order(set(labels)))
    left = len(tree.images) - len(chosen)
    note = (
        f"{tree.root}: the images in {test} alone count here; the other {left} are left out; name "
        "their folder to have those answered"
    )
    return SortedOut({TRAIN: part}, {}, tree.others, (note,) if left else ())


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (natural_key(name), name)))
