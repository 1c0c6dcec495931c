"""Questions to ask about images, without a model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tests_support import stripes, write_folder
from torch import Tensor

from nescio.refusal import Decisions, Verdicts
from nescio.report import Review, compose_review, questions

NASTY = (
    '</script><script>alert("in")</script>',
    "a, <b>\"b\"</b>\n&amp; 'c'",
    "ü 名\u2028",
    "plain",
)
"""Names that must stay names."""


def decisions(
    probability: Tensor, *, unfamiliar: Sequence[int] = (), answered: Sequence[int] = ()
) -> Decisions:
    """Decisions on ``N`` images of which the later are the more doubtful; ``(N, C)`` given."""
    count = len(probability)
    classes = tuple(str(c) for c in range(probability.shape[1]))
    strange, sure = torch.zeros(2, count, dtype=torch.bool)
    strange[list(unfamiliar)] = True
    sure[list(answered)] = True
    verdicts = Verdicts(
        top=probability.argmax(-1),
        proposed=probability > 0.4,
        ambiguous=~strange & ~sure,
        unfamiliar=strange,
        ambiguity=torch.arange(count) / count,
        unfamiliarity=torch.arange(count) * 1.0,
        nearest=probability.argmin(-1),
        stage=torch.zeros(count, dtype=torch.int64),
    )
    return Decisions(
        classes=classes,
        verdicts=verdicts,
        forced=verdicts.top,
        probability=probability,
        median=probability,
        scores={"familiarity": torch.full((count,), 0.25)},
        samples=torch.full((count,), 4),
        stages=("image", "output"),
    )


def rename(decided: Decisions, classes: Sequence[str]) -> Decisions:
    return replace(decided, classes=tuple(classes))


def probabilities(count: int, classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, classes, generator=generator).softmax(-1)


def review_of(folder: Path, classes: Sequence[str], count: int = 6) -> Review:
    """A page with real files in ``folder``, the last two of them unfamiliar."""
    write_folder(folder, stripes(count, 11))
    files = sorted(folder.rglob("*.png"), key=lambda path: path.name)
    decided = decisions(probabilities(count, len(classes)), unfamiliar=(count - 2, count - 1))
    asked = questions(rename(decided, classes), [str(file) for file in files], files)
    return compose_review("some <i>images</i>", asked, classes, looked=count)
