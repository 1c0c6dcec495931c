"""Small SVG drawings: scales, a frame with its axes, and the marks that go into it.

Numbers go in, markup comes out. Colours are names of CSS classes, so that a drawing follows the
page into the dark; words are escaped. Coordinates are in user units, of which a drawing has
about as many as pixels of the screen that it is shown on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

LETTER = 6.3
"""The width of a letter, on average; a generous guess, since fonts differ."""


@dataclass(frozen=True)
class Scale:
    """A straight line from numbers to places.

    Attributes:
        low: The number at ``start``.
        high: The number at ``end``, another than ``low``.
        start: A place, in user units.
        end: Another.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of ``value``; outside the scale it is the nearer end."""
        inside = min(max(value, self.low), self.high)
        return self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start)


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most ``most`` round numbers in ``[low, high]``, a power of ten times 1, 2 or 5 apart."""
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(
        size * factor
        for factor in (1, 2, 5, 10, 20)
        if _multiples(low, high, size * factor) <= most
    )
    first = math.ceil(low / step - 1e-9)
    return [step * (first + i) for i in range(_multiples(low, high, step))]


def _multiples(low: float, high: float, step: float) -> int:
    return math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1


def short(value: float) -> str:
    """A coordinate: a tenth of a unit is finer than any screen."""
    return f"{value:.1f}".removesuffix(".0")


def element(name: str, *, content: Markup | str = "", **attributes: object) -> Markup:
    """``<name ...>content</name>``; an underscore in front or in an attribute's name is a dash."""
    pairs = Markup("").join(
        Markup(' {}="{}"').format(key.strip("_").replace("_", "-"), _plain(value))
        for key, value in attributes.items()
        if value not in (None, "")
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, pairs, escape(content))


def _plain(value: object) -> object:
    return short(value) if isinstance(value, float) else value


def drawing(width: float, height: float, parts: Iterable[Markup], words: str) -> Markup:
    """A picture of its own.

    Args:
        width: In user units.
        height: Likewise.
        parts: What is drawn, the lowest first.
        words: The same for those who cannot see it.
    """
    return element(
        "svg",
        content=Markup("").join(parts),
        viewBox=f"0 0 {short(width)} {short(height)}",
        role="img",
        aria_label=words,
    )


def text(
    x: float, y: float, words: str, *, anchor: str = "start", kind: str = "", middle: bool = False
) -> Markup:
    """Words beginning (``start``), centred (``middle``) or ending (``end``) at ``x``.

    Args:
        x: Where.
        y: The base of the letters, or with ``middle`` the middle of the line.
        words: They are escaped.
        anchor: Which part of the words is at ``x``.
        kind: CSS classes.
        middle: See ``y``.
    """
    return element(
        "text",
        content=words,
        x=float(x),
        y=float(y + 4 if middle else y),
        text_anchor=None if anchor == "start" else anchor,
        _class=kind,
    )


def rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return element("path", d=f"M{short(x1)} {short(y1)}L{short(x2)} {short(y2)}", _class=kind)


def line(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """A line through points."""
    return element("path", d=_path(points), _class=f"line {kind}")


def area(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """What a line encloses."""
    return element("path", d=_path(points) + "Z", _class=f"area {kind}")


def dot(x: float, y: float, radius: float, kind: str) -> Markup:
    """A filled circle."""
    return element("circle", cx=float(x), cy=float(y), r=float(radius), _class=f"dot {kind}")


def bars(
    edges: Sequence[float], tops: Sequence[float], base: float, kind: str, gap: float = 0.0
) -> Markup:
    """The bars of a histogram as one path.

    Args:
        edges: ``(B + 1,)``, places.
        tops: ``(B,)``, places; a bar whose top is at ``base`` is not drawn.
        base: Where they stand.
        kind: CSS classes.
        gap: Left out at the right of each.
    """
    path = "".join(
        f"M{short(left)} {short(base)}V{short(top)}H{short(right - gap)}V{short(base)}Z"
        for left, right, top in zip(edges[:-1], edges[1:], tops, strict=True)
        if top < base
    )
    return element("path", d=path, _class=f"area {kind}") if path else Markup("")


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{short(x)} {short(y)}" for x, y in points)


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels as little as need be until each is ``gap`` from the next.

    Args:
        places: Where they would be.
        gap: Between neighbours.
        low: The first may not be before.
        high: The last may not be after, if they fit at all.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    floor = low
    for i in order:
        moved[i] = max(moved[i], floor)
        floor = moved[i] + gap
    ceiling = high
    for i in reversed(order):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    return moved


@dataclass(frozen=True)
class Frame:
    """Where a graph lies in its drawing.

    Attributes:
        x: The horizontal scale.
        y: The vertical one; it starts below.
    """

    x: Scale
    y: Scale

    @staticmethod
    def of(
        width: float,
        height: float,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        left: float = 36,
        right: float = 12,
        top: float = 26,
        bottom: float = 36,
    ) -> Frame:
        """A frame in a drawing of that size, with these ranges and margins."""
        return Frame(
            Scale(*x, left, width - right),
            Scale(*y, height - bottom, top),
        )

    def at(self, x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
        """Numbers to places."""
        return [(self.x(a), self.y(b)) for a, b in zip(x, y, strict=True)]

    def x_axis(self, ticks: Iterable[tuple[float, str]], label: str = "") -> list[Markup]:
        """A base line, its ticks, and what it shows below them."""
        base = self.y.start
        return [
            rule(self.x.start, base, self.x.end, base, "axis"),
            *(
                text(self.x(at), base + 15, words, anchor="middle", kind="tick")
                for at, words in ticks
            ),
            text((self.x.start + self.x.end) / 2, base + 31, label, anchor="middle"),
        ]

    def y_axis(self, ticks: Iterable[tuple[float, str]], label: str = "") -> list[Markup]:
        """Faint lines across, their numbers, and what they show above."""
        marks = [
            part
            for at, words in ticks
            for part in (
                rule(self.x.start, self.y(at), self.x.end, self.y(at), "grid"),
                text(self.x.start - 7, self.y(at), words, anchor="end", kind="tick", middle=True),
            )
        ]
        return [*marks, text(0, self.y.end - 14, label)]
