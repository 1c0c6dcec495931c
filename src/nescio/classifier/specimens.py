"""Images of a study to show, with all that is told about their answers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nescio.classifier.classifier import Classifier
from nescio.classifier.judging import Judgement
from nescio.data import ImageSet
from nescio.evaluation import AMBIGUOUS, UNFAMILIAR, Specimen, Study
from nescio.evaluation.bootstrap import Array
from nescio.refusal import Decisions

SPECIMENS = 10
"""Images in a gallery, at most."""

MOST_HISTOGRAMS = 40
"""With more classes only so many, the most probable ones, have histograms."""

HISTOGRAM_BINS = 8
"""The article's number."""

LOWEST = -25.0
"""Log-probabilities below this count in the first bin."""


def choose_specimens(classifier: Classifier, judgement: Judgement) -> tuple[Specimen, ...]:
    """Some images of every gallery (:data:`nescio.evaluation.GALLERIES`) that has any.

    Args:
        classifier: The one that was judged; the same networks are drawn again for these images.
        judgement: Its judgement.
    """
    study = judgement.study
    test, answers = study.test, study.test.answers[0]
    right = answers.top == test.labels
    galleries = {
        "right": _spread(answers.accepted & right, test.confidence),
        "wrong": _highest(answers.accepted & ~right, test.confidence),
        "ambiguous": _highest(answers.fate == AMBIGUOUS, answers.doubt),
        "unfamiliar": _highest(answers.fate == UNFAMILIAR, answers.unfamiliarity),
    }
    shown = _Shown(classifier, study, judgement.test, judgement.decisions, test.name)
    specimens = shown.specimens(galleries)
    for name, (images, decisions) in judgement.shifted.items():
        judged = study.shifted[name]
        answers = judged.answers[0]
        galleries = {
            "refused": _spread(~answers.accepted, answers.unfamiliarity),
            "accepted": _highest(answers.accepted, judged.confidence),
        }
        specimens += _Shown(classifier, study, images, decisions, name).specimens(galleries)
    return tuple(specimens)


def _highest(mask: Array, key: Array) -> list[int]:
    """The images in ``mask`` ``(N,)`` with the highest ``key`` ``(N,)``."""
    members = np.flatnonzero(mask)
    chosen: list[int] = members[np.argsort(-key[members], kind="stable")][:SPECIMENS].tolist()
    return chosen


def _spread(mask: Array, key: Array) -> list[int]:
    """Images in ``mask`` ``(N,)`` taken evenly from the highest ``key`` to the lowest."""
    members = np.flatnonzero(mask)
    ordered = members[np.argsort(-key[members], kind="stable")]
    if len(ordered) > SPECIMENS:
        ordered = ordered[np.linspace(0, len(ordered) - 1, SPECIMENS).round().astype(int)]
    chosen: list[int] = ordered.tolist()
    return chosen


@dataclass(frozen=True)
class _Shown:
    """A set that images are shown of."""

    classifier: Classifier
    study: Study
    images: ImageSet
    decisions: Decisions
    name: str

    def specimens(self, galleries: Mapping[str, Sequence[int]]) -> list[Specimen]:
        places = [(kind, index) for kind, indices in galleries.items() for index in indices]
        if not places:
            return []
        few = self.images.subset(torch.tensor([index for _, index in places]))
        parts = self.classifier.stream_logits(few, samples=self.study.samples, seed=self.study.seed)
        logs = torch.cat([part.log_softmax(-1).cpu() for part in parts], 1).numpy()
        pixels = self.classifier.prepare(few)
        return [
            self._specimen(kind, index, logs[:, i], pixels[i])
            for i, (kind, index) in enumerate(places)
        ]

    def _specimen(self, gallery: str, index: int, logs: Array, pixels: Tensor) -> Specimen:
        decisions, images = self.decisions, self.images
        decision, probability = decisions[index], decisions.probability[index].numpy()
        shown = np.sort(np.argsort(-probability, kind="stable")[:MOST_HISTOGRAMS])
        edges, counts = histograms(logs[:, shown])
        labels = images.labels
        return Specimen(
            gallery=gallery,
            set=self.name,
            index=index,
            name=images.image_name(index),
            png=_png(pixels),
            actual=None if labels is None else images.classes[int(labels[index])],
            label=decision.label,
            reason=None if decision.reason is None else str(decision.reason),
            text=str(decision),
            forced=decision.forced,
            proposed=decision.proposed,
            classes=tuple(decisions.classes[c] for c in shown),
            probability=tuple(probability[shown].tolist()),
            median=tuple(decisions.median[index].numpy()[shown].tolist()),
            edges=tuple(edges.tolist()),
            counts=tuple(tuple(row) for row in counts.tolist()),
            scores=decision.scores,
            nearest=decision.nearest,
            stage=decision.stage,
            samples=decision.samples,
        )


def histograms(logs: Array) -> tuple[Array, Array]:
    """The article's histograms of one answer, as numbers.

    Args:
        logs: ``(S, H)`` natural logarithms of sampled probabilities.

    Returns:
        ``(B + 1,)`` edges, one for all classes, and ``(H, B)`` counts.
    """
    values = np.maximum(logs.astype(float), LOWEST)
    edges = np.linspace(min(float(values.min()), -1.0), 0.0, HISTOGRAM_BINS + 1)
    # Rounding may leave a logarithm a hair above 0.
    clipped = np.clip(values, edges[0], edges[-1])
    return edges, np.stack([np.histogram(column, edges)[0] for column in clipped.T])


def _png(image: Tensor) -> bytes:
    """One image ``(K, H, W)`` uint8, as it is."""
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
        buffer, "PNG", optimize=True
    )
    return buffer.getvalue()
