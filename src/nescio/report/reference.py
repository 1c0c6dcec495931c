"""Where one image stands among the calibration images: a small histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from nescio.classifier import Classifier
from nescio.refusal import CalibratedRule, Rule
from nescio.report.colours import BLUE, GREY, INK, ORANGE, SOFT

BINS = 40
"""Of the histogram, up to its right edge."""

ROOM = 1.6
"""The right edge, as a multiple of the threshold and of the strangest calibration image."""


@dataclass(frozen=True)
class Reference:
    """What an image's unfamiliarity is held against.

    Attributes:
        unfamiliarity: ``(M,)``, of the calibration images, in nats.
        threshold: What is beyond it is refused as unfamiliar; infinite where nothing is.
        partly: Whether what lies before ``threshold`` may be refused as unfamiliar, too: with
            enough doubt beside, or by the threshold of its class.
    """

    unfamiliarity: Tensor
    threshold: float
    partly: bool = False

    @staticmethod
    def of(classifier: Classifier, rule: Rule) -> Reference | None:
        """What ``rule`` holds images against; ``None`` where it does not judge familiarity."""
        if classifier.reference is None or not isinstance(rule, CalibratedRule):
            return None
        limits = rule.unfamiliar
        partly = rule.frontier is not None or len(limits) > 1
        return Reference(classifier.reference, max(limits), partly)

    @property
    def edge(self) -> float:
        """The right edge of the histogram, in nats."""
        familiar = self.unfamiliarity[self.unfamiliarity.isfinite()].tolist()
        known = [*familiar, self.threshold] if math.isfinite(self.threshold) else familiar
        return ROOM * max(known, default=1.0) or 1.0


def draw_reference(axis: Axes, reference: Reference, value: float, *, refused: bool) -> None:
    """Draw the calibration images as bars, the threshold as a line, and one image as a mark.

    Args:
        axis: Two lines of text are written above it.
        reference: What the image is held against.
        value: Its unfamiliarity, in nats; beyond the edge it becomes an arrow there.
        refused: Whether it was refused as unfamiliar.
    """
    edge = reference.edge
    colour = ORANGE if refused else BLUE
    familiar = reference.unfamiliarity.clamp_max(edge).double().numpy()
    counts, edges = np.histogram(familiar, BINS, (0.0, edge))
    axis.bar(edges[:-1], counts, edge / BINS, align="edge", color=GREY)
    axis.set_xlim(0.0, edge)
    axis.set_ylim(0.0, 1.15 * max(counts.max(), 1))
    _draw_threshold(axis, reference, edge)
    if value > edge:
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.5, "mutation_scale": 14}
        axis.annotate(
            "",
            (1.0, 0.5),
            (0.94, 0.5),
            xycoords="axes fraction",
            arrowprops={**arrow, "shrinkB": 0},
        )
    else:
        axis.axvline(value, color=colour, linewidth=2.5, clip_on=False)
    _write(axis, reference, value, colour, outside=value > edge)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.yaxis.set_visible(False)
    axis.tick_params(labelsize=7, length=2, color="#999999", labelcolor=SOFT)


def _draw_threshold(axis: Axes, reference: Reference, edge: float) -> None:
    if not math.isfinite(reference.threshold):
        return
    axis.axvline(reference.threshold, color=INK, linewidth=0.8)
    axis.text(
        reference.threshold / edge,
        1.06,
        f"{'always ' if reference.partly else ''}refused beyond",
        transform=axis.transAxes,
        ha="left",
        va="bottom",
        fontsize=7.5,
        color=INK,
    )


def _write(axis: Axes, reference: Reference, value: float, colour: str, *, outside: bool) -> None:
    """What is drawn, in the colours that it is drawn in, above the threshold's label."""
    height = f"{value:.3g}" if math.isfinite(value) else "no number"
    far = " \u2192" if outside else ""
    # Each piece begins where the one before ends; offsets are in points.
    line = [
        ("unfamiliarity (nats)", INK),
        (f"{len(reference.unfamiliarity):,} calibration images", "#8A8A8A"),
        (f"this image: {height}{far}", colour),
    ]
    left = None
    for words, own in line:
        left = axis.annotate(
            words,
            xy=(0, 1) if left is None else (1, 0),
            xycoords="axes fraction" if left is None else left,
            xytext=(0, 16) if left is None else (7, 0),
            textcoords="offset points",
            va="bottom",
            fontsize=7.5,
            color=own,
            fontweight="bold" if own == colour else "normal",
            annotation_clip=False,
        )
