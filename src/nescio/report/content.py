"""What a report says: plain data, ready for the template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nescio.evaluation import Evaluation
from nescio.inference import Epoch
from nescio.refusal import Decisions


@dataclass(frozen=True)
class Card:
    """One image with its answer.

    Attributes:
        image: PNG.
        caption: What it is, such as ``real label 4``.
        verdict: What was answered.
        accepted: Whether there was an answer.
        picture: The article's picture of the answer, PNG.
        words: The picture in words, for those who cannot see it.
    """

    image: bytes
    caption: str
    verdict: str
    accepted: bool
    picture: bytes
    words: str


@dataclass(frozen=True)
class Gallery:
    """Some images that share a fate.

    Attributes:
        title: Its heading.
        explanation: One sentence on what to see.
        cards: The images.
    """

    title: str
    explanation: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Report:
    """Everything that a report shows.

    Attributes:
        title: Its heading.
        summary: What was found, in plain sentences.
        evaluation: The figures.
        classes: The ``C`` class names.
        confusion: ``(C, C + 1)`` counts, see :func:`confusion_with_refusal`.
        galleries: Images to look at.
        history: How training went.
        model: What the model is, in plain words.
        provenance: How to make it again.
    """

    title: str
    summary: tuple[str, ...]
    evaluation: Evaluation
    classes: tuple[str, ...]
    confusion: Tensor
    galleries: tuple[Gallery, ...]
    history: tuple[Epoch, ...]
    model: Mapping[str, str]
    provenance: Mapping[str, str]


def confusion_with_refusal(labels: Tensor, decisions: Decisions) -> Tensor:
    """Count answers by true class, refusals in a last column of their own.

    Args:
        labels: ``(N,)`` int64.
        decisions: The decisions on the ``N`` images.

    Returns:
        ``(C, C + 1)`` int64: row the true class, column the answer; the last column
        is "I don't know".
    """
    classes = len(decisions.classes)
    answers = torch.where(decisions.accepted, decisions.verdicts.top, classes)
    cells = labels * (classes + 1) + answers
    return torch.bincount(cells, minlength=classes * (classes + 1)).view(classes, classes + 1)


def percent(share: float) -> str:
    """A share for a reader: ``98.5 %``; only nothing is ``0 %`` and only all is ``100 %``."""
    for digits in (1, 2, 3):
        text = f"{100 * share:.{digits}f}"
        if 0.0 < float(text) < 100.0:
            break
    return f"{text if 0.0 < share < 1.0 else round(100 * share)}\u00a0%"


def image_png(image: Tensor, side: int = 84) -> bytes:
    """One image ``(K, H, W)`` uint8 as PNG, enlarged to about ``side`` without smoothing."""
    pixels = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(
        pixels[..., 0] if pixels.shape[-1] == 1 else np.ascontiguousarray(pixels)
    )
    factor = max(1, side // max(picture.size))
    enlarged = picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )
    buffer = BytesIO()
    enlarged.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
