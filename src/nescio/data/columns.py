"""Which column of a table holds the images, and which their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nescio.errors import DataError
from nescio.progress import SILENT, Reporter


@dataclass(frozen=True)
class Wanted:
    """A kind of column.

    Attributes:
        what: What it holds, for messages.
        standard: What it is usually called, in any case; the first that is there counts.
        option: What names it on the command line.
    """

    what: str
    standard: tuple[str, ...]
    option: str

    def choose(
        self,
        source: str,
        candidates: Sequence[str],
        columns: Sequence[str],
        asked: str | None = None,
        reporter: Reporter = SILENT,
    ) -> str | None:
        """The column that was asked for; else one of the usual names; else the only one there is.

        Args:
            source: The table, for errors.
            candidates: Columns that could be it by what they hold.
            columns: All columns.
            asked: What the user named.
            reporter: Told of other candidates.

        Returns:
            The column; ``None`` where there is no candidate.

        Raises:
            DataError: There is no column that was asked for, or nobody can tell which it is.
        """
        if asked is not None:
            if asked not in columns:
                raise DataError(
                    f"{source}: there is no column {asked!r} for {self.option}; it has "
                    f"{', '.join(columns) or 'none'}"
                )
            return asked
        ranks = {name: each for each, name in enumerate(self.standard)}
        usual = sorted(
            (ranks[name.casefold()], name) for name in candidates if name.casefold() in ranks
        )
        chosen = usual[0][1] if usual else None
        if chosen is None and len(candidates) > 1:
            raise DataError(
                f"{source}: {self.what} could be in {' or '.join(candidates)}; say which with "
                f"{self.option}"
            )
        chosen = chosen or next(iter(candidates), None)
        others = [name for name in candidates if name != chosen]
        if others:
            reporter.note(
                f"{source}: {self.what} are read from the column {chosen!r}, not from "
                f"{', '.join(others)}; {self.option} names another"
            )
        return chosen


IMAGES = Wanted(
    "images",
    ("image", "img", "images", "jpg", "jpeg", "png", "webp", "picture", "photo"),
    "--image-column",
)

LABELS = Wanted(
    "labels",
    ("label", "labels", "cls", "class", "target", "fine_label", "category"),
    "--label-column",
)
