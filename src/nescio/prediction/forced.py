"""The forced answer: the class named when an answer is compulsory."""

from __future__ import annotations

from typing import Literal

from torch import Tensor


def forced_labels(
    logits: Tensor, probabilities: Tensor, kind: Literal["probability", "logits"], first: int | None
) -> Tensor:
    """The class with the largest mean over the sampled networks, ``(N,)`` int64.

    Args:
        logits: ``(S, N, C)`` raw outputs.
        probabilities: ``(S, N, C)``, their softmax.
        kind: Whether ``probability`` is averaged (the posterior predictive), or the
            raw ``logits``, as in the article.
        first: Average only the first so many networks; ``None`` for all.
    """
    averaged = probabilities if kind == "probability" else logits
    return averaged[:first].mean(0).argmax(-1)
