"""Does the exported file decide as the classifier does? Both are run on the same images.

A decision may differ where rounding puts a score on the other side of a threshold, or where two
classes are alike. That is tried: the classifier decides again with its outputs and its evidence
moved by a small share, in random directions; a difference is explained if it then decides as the
file did.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nescio.classifier import Classifier
from nescio.data import ImageSet, blank, checkerboard, letters, natural, noise, read_all
from nescio.data.images import Preprocessing
from nescio.errors import ExportError
from nescio.export.networks import Draw
from nescio.progress import SILENT, Reporter
from nescio.refusal import Decisions, Rule

BATCH_SIZE = 256
"""Images that are given to the file at once."""

MOST_OUTPUTS = 2**22
"""Numbers that all networks give together for a batch: a runtime holds them many times over."""

IMAGES_OF_EACH = 32
"""Made images of each kind."""

ROUNDING = 1e-3
"""A difference is explained if scores that are moved by at most this share explain it. Rounding is
finer; but which of two equally far training images is a neighbour, rounding decides, and that moves
a distance by about so much."""

STEPS = (1e-6, 1e-5, 1e-4, ROUNDING)
"""Shares that are tried, the smallest first."""

TRIES = 64
"""Random directions at each."""

CLOSE, ALIKE = 1e-3, 0.05
"""By how much probabilities may differ, and by which share unfamiliarities: where a class is tight,
rounding decides which image is its nearest but two. A classifier itself, given 500 images at once
or one by one, differed by up to 4 %, for 3.4 % of them by more than 1 %."""

MOST_APART = 0.01
"""The share of images whose scores may be farther apart, at neighbours that change places."""


@dataclass(frozen=True)
class Difference:
    """An image on which the two decide differently.

    Attributes:
        image: Its name.
        classifier: What the classifier says.
        exported: What the file says.
        rounding: The smallest share of :data:`STEPS` by which scores must be moved for the
            classifier to say the same; ``None`` where none of them is enough.
    """

    image: str
    classifier: str
    exported: str
    rounding: float | None


@dataclass(frozen=True)
class Agreement:
    """How the two compare.

    Attributes:
        images: How many were compared.
        accepted: How many of them the classifier answers.
        differences: Those that are decided differently.
        probability: The largest difference of a probability.
        unfamiliarity: The largest difference of an unfamiliarity, as a share of it.
        apart: The share of images with scores farther apart than :data:`CLOSE` or :data:`ALIKE`.
        seconds: That each took for all images: ``classifier`` and ``exported``.
    """

    images: int
    accepted: int
    differences: tuple[Difference, ...]
    probability: float
    unfamiliarity: float
    apart: float
    seconds: Mapping[str, float]

    @property
    def equal(self) -> int:
        """How many are decided alike."""
        return self.images - len(self.differences)

    @property
    def explained(self) -> bool:
        """Whether rounding explains all that differs."""
        return self.apart <= MOST_APART and all(d.rounding is not None for d in self.differences)

    def require(self) -> None:
        """Nothing is written that decides otherwise.

        Raises:
            ExportError: Rounding does not explain what differs.
        """
        if self.explained:
            return
        unlike = [d for d in self.differences if d.rounding is None]
        if unlike:
            first = unlike[0]
            what = f"{len(unlike)} of {self.images} images are decided otherwise, such as "
            what += f"{first.image}: {first.exported}, not {first.classifier}"
        else:
            what = f"the scores of {100 * self.apart:.2g} % of {self.images} images are unlike"
        raise ExportError(
            f"what was exported does not decide as the classifier does, so nothing was written: "
            f"{what}; keep this model in PyTorch, and report it with the network"
        )


def made_images(preprocessing: Preprocessing) -> list[ImageSet]:
    """Images to try a file on where no others are given: of its own size, and of others."""
    makers = (letters, noise, natural, checkerboard, blank)
    sets = [make(IMAGES_OF_EACH, preprocessing) for make in makers]
    height, width = preprocessing.height, preprocessing.width
    for more in ((2 * height + 1, 2 * width + 3), (height, 3 * width), (height + 9, width + 1)):
        other = replace(preprocessing, height=more[0], width=more[1])
        sets += [replace(make(8, other), name=f"{make.__name__} {other}") for make in makers[:3]]
    return sets


def compare(
    session: Any,
    classifier: Classifier,
    rule: Rule,
    draw: Draw,
    sets: Sequence[ImageSet],
    *,
    reporter: Reporter = SILENT,
) -> Agreement:
    """Run both on the same images.

    Args:
        session: An ``onnxruntime.InferenceSession`` of the exported model.
        classifier: What was exported; it decides in float32.
        rule: By which.
        draw: The networks.
        sets: Images of any size, in the model's colour.
        reporter: Told of progress.
    """
    classifier = replace(classifier, precision="float32")
    size = _batch_size(draw.samples * len(classifier.classes))
    parts = [part for images in sets for part in _batches(images, size)]
    warm = {"images": as_input(parts[0].images[:1])}
    session.run(None, warm)
    images = sum(len(part) for part in parts)
    found = []
    with reporter.task("comparing", images, "images") as task:
        for part in parts:
            found.append(_Compared.of(session, classifier, rule, draw, part))
            task.advance(len(part))
    return Agreement(
        images=images,
        accepted=sum(each.accepted for each in found),
        differences=tuple(d for each in found for d in each.differences),
        probability=max(each.probability for each in found),
        unfamiliarity=max(each.unfamiliarity for each in found),
        apart=sum(each.apart for each in found) / images,
        seconds={
            "classifier": sum(each.seconds[0] for each in found),
            "exported": sum(each.seconds[1] for each in found),
        },
    )


def as_input(images: Tensor) -> np.ndarray[Any, Any]:
    """Images ``(n, K, H, W)`` uint8 as the file takes them, ``(n, H, W, K)``."""
    array: np.ndarray[Any, Any] = images.permute(0, 2, 3, 1).contiguous().numpy()
    return array


def _batch_size(outputs: int) -> int:
    """How many images are compared at once, of which each has so many outputs in all."""
    return max(1, min(BATCH_SIZE, MOST_OUTPUTS // outputs))


def _batches(images: ImageSet, size: int) -> list[ImageSet]:
    return [images.subset(part) for part in torch.arange(len(images)).split(size)]


@dataclass(frozen=True)
class _Compared:
    """One batch."""

    accepted: int
    differences: list[Difference]
    probability: float
    unfamiliarity: float
    apart: int
    seconds: tuple[float, float]

    @staticmethod
    def of(
        session: Any, classifier: Classifier, rule: Rule, draw: Draw, images: ImageSet
    ) -> _Compared:
        start = time.perf_counter()
        outputs = session.run(None, {"images": as_input(read_all(images.images))})
        middle = time.perf_counter()
        prepared = classifier.prepare(images)
        # Of many classes, or a wide network, not even this batch is one chunk.
        chunks = classifier.stream_logits(images, samples=draw.samples, seed=draw.seed)
        logits = torch.cat([*chunks], 1)
        evidence = classifier.evidence_reader()(prepared) if rule.needs_evidence else None

        def decide(outputs: Tensor, known: Tensor | None) -> Decisions:
            return classifier.decide_from_logits(outputs, rule, known)

        own = decide(logits, evidence)
        end = time.perf_counter()
        names = [output.name for output in session.get_outputs()]
        exported = {
            name: torch.from_numpy(np.array(value))
            for name, value in zip(names, outputs, strict=True)
        }
        theirs = codes(exported["accepted"], exported["label"], exported["reason"])
        differing = (codes_of(own) != theirs).nonzero().flatten()
        rounding = _explain(decide, logits, evidence, theirs, differing)
        probability = (exported["probability"] - own.probability).abs().amax(1)
        unfamiliarity = torch.zeros(len(probability))
        if "unfamiliarity" in exported:
            unfamiliarity = _share_apart(exported["unfamiliarity"], own.verdicts.unfamiliarity)
        apart = ~((probability <= CLOSE) & (unfamiliarity <= ALIKE))
        return _Compared(
            accepted=int(own.accepted.sum()),
            differences=[
                Difference(
                    images.image_name(i),
                    _say(classifier.classes, int(codes_of(own)[i])),
                    _say(classifier.classes, int(theirs[i])),
                    rounding[i],
                )
                for i in differing.tolist()
            ],
            probability=float(probability.max()),
            unfamiliarity=float(unfamiliarity.max()),
            apart=int(apart.sum()),
            seconds=(end - middle, middle - start),
        )


def codes(accepted: Tensor, label: Tensor, reason: Tensor) -> Tensor:
    """One number for each decision ``(n,)``: the class, or below 0 the reason."""
    return torch.where(accepted, label, -reason)


def codes_of(decisions: Decisions) -> Tensor:
    """As :func:`codes`, of a classifier's decisions."""
    reason = torch.where(decisions.verdicts.unfamiliar, 2, 1)
    return codes(decisions.accepted, decisions.verdicts.top, reason)


def _say(classes: Sequence[str], code: int) -> str:
    return classes[code] if code >= 0 else ("", "ambiguous", "unfamiliar")[-code]


def _share_apart(theirs: Tensor, own: Tensor) -> Tensor:
    """Differences as a share, or of one nat where there is less; equal infinities do not differ."""
    apart = (theirs - own).abs() / own.abs().clamp_min(1.0)
    return torch.where(theirs == own, 0.0, apart)


def _explain(
    decide: Callable[[Tensor, Tensor | None], Decisions],
    logits: Tensor,
    evidence: Tensor | None,
    theirs: Tensor,
    differing: Tensor,
) -> dict[int, float | None]:
    """For each image that differs: the smallest share that explains it, if one does."""
    generator = torch.Generator().manual_seed(0)
    explained: dict[int, float | None] = dict.fromkeys(differing.tolist())
    for image in explained:
        own = logits[:, image : image + 1].cpu().expand(-1, TRIES, -1)
        known = None if evidence is None else evidence[image : image + 1].expand(TRIES, -1, -1)
        for share in STEPS:
            moved = _moved(own.transpose(0, 1), share, generator).transpose(0, 1)
            far = None if known is None else _moved(known, share, generator)
            again = codes_of(decide(moved, far))
            if bool((again == theirs[image]).any()):
                explained[image] = share
                break
    return explained


def _moved(numbers: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Tries ``(TRIES, a, C)``, each class moved by at most a share of itself, all ``a`` alike."""
    signs = torch.rand(len(numbers), 1, numbers.shape[-1], generator=generator) * 2 - 1
    size = numbers.abs().mean(1, keepdim=True).nan_to_num(0.0, posinf=0.0)
    return numbers + share * size * signs
