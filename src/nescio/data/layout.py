"""Which folders are parts of a data set, and which are classes, by their names and what is in them.

Nothing is guessed: where folders can be read in two ways, it is an error that says how to tell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nescio.data.class_numbers import natural_key
from nescio.data.split import PARTS
from nescio.data.walk import Tree
from nescio.errors import DataError

TRAIN, CALIBRATION, TEST = PARTS

USUAL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        TRAIN: ("train", "training", "trn"),
        CALIBRATION: ("val", "valid", "validation", "dev", "calibration", "calib"),
        TEST: ("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"),
    }
)
"""What the folders of the parts are usually called, in any case. What a set keeps for validation is
calibrated on."""

CALLED: Mapping[str, str] = MappingProxyType(
    {TRAIN: "train", CALIBRATION: "validation", TEST: "test"}
)
"""What parts are called in names of images and in messages."""

BEHIND = r"(?:set|data|images|split)?(?:(?:19|20)\d\d)?"
"""What people put behind such a name: ``training_set``, ``val2017``."""

TOLD = 4
"""How many folders an error names."""

MEND = (
    "if they are parts, call one train and the others val and test; if not, rename them, or list "
    "the images in a CSV file, image,label, for --labels"
)


def part_of(name: str) -> str | None:
    """The part that a folder of this name holds, if it is called like one."""
    bare = re.sub(r"[-_ .]", "", name.casefold())
    for part, names in USUAL.items():
        if re.fullmatch(f"(?:{'|'.join(names)}){BEHIND}", bare):
            return part
    return None


@dataclass(frozen=True)
class Layout:
    """Where a folder keeps its parts.

    Attributes:
        parts: What the folder of each part is called, by its name in
            :data:`nescio.data.split.PARTS`; empty where there are no such folders.
        inside: Whether they lie in the class folders, and not above them.
        flat: Folders of parts whose images lie in no class folders.
    """

    parts: Mapping[str, str]
    inside: bool = False
    flat: tuple[str, ...] = ()

    def place(self, names: tuple[str, ...]) -> tuple[str, str] | None:
        """The part and the class of a file, by the names that lead to it, if it has any."""
        if not self.parts:
            return (TRAIN, names[0]) if len(names) > 1 else None
        if len(names) < 3:
            return None
        part, name = (names[1], names[0]) if self.inside else (names[0], names[1])
        found = part_of(part)
        if found is None or not (self.inside or self.parts.get(found) == part):
            return None
        return found, name


@dataclass(frozen=True)
class _Top:
    """A folder just below the root: whether images lie in it, and in which folders below."""

    loose: bool
    below: frozenset[str]


def find_layout(tree: Tree) -> Layout:
    """Find out which folders are parts of a labelled set, and which classes.

    Raises:
        DataError: They can be read in more than one way, or a part is missing.
    """
    tops = _tops(tree)
    called = {name: part for name in _folders(tree) if (part := part_of(name)) is not None}
    if any(tops[name].below for name in called if name in tops):
        return _parts_above(tree, tops, called)
    _check_flat(tree, tops, called)
    inside = {name: top for name, top in tops.items() if _is_parted(top)}
    if inside and any(len(top.below) > 1 for top in inside.values()):
        return _parts_inside(tree, tops, inside)
    _check_alike(tree, tops)
    return Layout({})


def find_test(tree: Tree) -> str | None:
    """The folder of the test part, where there is one of the training part, too.

    For sets whose labels are not needed: whatever else there is, all images count.
    """
    called = [(part_of(name), name) for name in _folders(tree)]
    parts = {part: name for part, name in called if part is not None}
    sure = len(parts) == sum(part is not None for part, _ in called)
    test = parts.get(TEST) if TRAIN in parts and sure else None
    return test if test in _tops(tree) else None


def find_parts(tree: Tree) -> Mapping[str, str]:
    """The folders of parts, if all images lie in such; for sets whose labels are not in folders.

    Raises:
        DataError: Two are called like one part.
    """
    called = {name: part_of(name) for name in _tops(tree)}
    loose = any(len(tree.parts(image)) < 2 for image in tree.images)
    if loose or TRAIN not in called.values() or None in called.values():
        return {}
    parts: dict[str, str] = {}
    for name, part in called.items():
        if str(part) in parts:
            raise _called_alike(tree, parts[str(part)], name, str(part))
        parts[str(part)] = name
    return parts


def _called_alike(tree: Tree, first: str, second: str, part: str) -> DataError:
    return DataError(
        f"{tree.root}: {first!r} and {second!r} are both called like the {part} part; "
        f"rename one of them ({_usual()}), or move it away"
    )


def _parts_above(tree: Tree, tops: Mapping[str, _Top], called: Mapping[str, str]) -> Layout:
    root = tree.root
    parts: dict[str, str] = {}
    for name, part in called.items():
        if name not in tops:
            raise DataError(
                f"{root / name}: no images in this folder; add some, or remove the folder"
            )
        if part in parts:
            raise _called_alike(tree, parts[part], name, part)
        parts[part] = name
    flat = [name for name in called if not tops[name].below]
    parts = {part: name for part, name in parts.items() if name not in flat}
    beside = [name for name in tops if name not in called]
    if TRAIN not in parts:
        raise DataError(
            f"{root}: {_names(parts.values())} {_is_are(parts)} called like a part of a set, but "
            f"there is no training part with class folders; call it train, or name one part, such "
            f"as {root / next(iter(parts.values()))}"
        )
    if beside and len(called) == 1:
        raise DataError(
            f"{root}: {parts[TRAIN]!r} is called like a part of a set and holds folders, but "
            f"{_names(beside)} {_is_are(beside)} not; {MEND}"
        )
    return Layout(parts, flat=tuple(flat))


def _check_flat(tree: Tree, tops: Mapping[str, _Top], called: Mapping[str, str]) -> None:
    """No folder that is called like a part may pass for a class; but a train is a vehicle, too."""
    flat = [name for name in called if name in tops]
    if len(flat) > 1 or (flat and called[flat[0]] != TRAIN):
        raise DataError(
            f"{tree.root}: {_names(flat)} {_is_are(flat)} called like {'a part' * (len(flat) == 1)}"
            f"{'parts' * (len(flat) > 1)} of a set, but there are no class folders below; make one "
            "subfolder a class there, or rename what is a class"
        )


def _parts_inside(tree: Tree, tops: Mapping[str, _Top], inside: Mapping[str, _Top]) -> Layout:
    other = [name for name in tops if name not in inside]
    if other:
        first = next(iter(inside))
        raise DataError(
            f"{tree.root}: {first!r} holds {_names(inside[first].below)}, called like parts of a "
            f"set, but {_names(other)} {'holds' if len(other) == 1 else 'hold'} other things; lay "
            "out all classes alike"
        )
    parts: dict[str, str] = {}
    for name, top in inside.items():
        own = [part_of(folder) for folder in top.below]
        for folder in sorted(top.below):
            part = part_of(folder)
            if own.count(part) > 1:
                raise DataError(
                    f"{tree.root / name}: two folders are called like the {part} part; rename one "
                    f"of them ({_usual()}), or move it away"
                )
            parts.setdefault(str(part), f"*/{folder}")
    if TRAIN not in parts:
        raise DataError(
            f"{tree.root}: its classes hold {_names(parts.values())}, but no training part; call "
            "it train"
        )
    return Layout(parts, inside=True)


def _check_alike(tree: Tree, tops: Mapping[str, _Top]) -> None:
    """Folders that hold the same folders may be classes, or folds with the classes in them."""
    if len(tops) < 2 or any(top.loose for top in tops.values()):
        return
    shared = frozenset.intersection(*(top.below for top in tops.values()))
    if len(shared) > 1:
        raise DataError(
            f"{tree.root}: {_names(tops)} all hold folders {_names(shared)}, so that either may "
            f"be the classes; {MEND}"
        )


def _folders(tree: Tree) -> list[str]:
    """The names of the folders just below the root, empty ones too."""
    return [folder.name for folder in tree.folders if folder.parent == tree.root]


def _tops(tree: Tree) -> dict[str, _Top]:
    """The folders just below the root that hold images."""
    loose: dict[str, bool] = {}
    below: dict[str, set[str]] = {}
    for image in tree.images:
        names = tree.parts(image)
        if len(names) > 1:
            below.setdefault(names[0], set())
            loose[names[0]] = loose.get(names[0], False) or len(names) == 2
        if len(names) > 2:
            below[names[0]].add(names[1])
    return {name: _Top(loose[name], frozenset(found)) for name, found in below.items()}


def _is_parted(top: _Top) -> bool:
    return bool(top.below) and not top.loose and all(map(part_of, top.below))


def _usual() -> str:
    return ", ".join(f"{names[0]} for {part}" for part, names in USUAL.items())


def _names(names: Iterable[str]) -> str:
    ordered = sorted(names, key=natural_key)
    more = f" and {len(ordered) - TOLD} more" if len(ordered) > TOLD else ""
    return ", ".join(map(repr, ordered[:TOLD])) + more


def _is_are(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are"
