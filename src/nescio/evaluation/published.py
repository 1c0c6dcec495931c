"""Figures of the article, for those who hold theirs against them.

P. Chopra 2018, *Making Your Neural Network Say "I Don't Know"*; K. Ouhmaid 2020 builds the same
system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ARTICLE_LOSS = (2104, 381, 161, 112, 96)
"""The loss per image that the article prints after each of its five passes."""


@dataclass(frozen=True)
class Published:
    """A figure of the article.

    Attributes:
        name: What is counted.
        count: How many times it happened.
        total: Out of how many.
        approximate: Whether only the share is published, and the count follows from it.
    """

    name: str
    count: int
    total: int
    approximate: bool = False

    @property
    def share(self) -> float:
        """The published share."""
        return self.count / self.total

    def __str__(self) -> str:
        if self.approximate:
            return f"{100 * self.share:.0f} %"
        return f"{100 * self.share:.1f} % ({self.count:,}/{self.total:,})"


ARTICLE: Mapping[str, Published] = MappingProxyType(
    {
        "forced": Published("right when an answer is forced", 8900, 10_000, True),
        "refused": Published("test images refused", 1250, 10_000),
        "accepted": Published("right when answered", 8400, 8750, True),
        "noise": Published("noise refused", 95, 100),
        "notmnist": Published("not-MNIST letters refused", 363, 459),
    }
)
"""The table: on MNIST's test images, and on sets by name."""
