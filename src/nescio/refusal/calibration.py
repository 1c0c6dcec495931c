"""Set a threshold from held-out familiar images, so that a promise holds."""

from __future__ import annotations

import math

from torch import Tensor

from nescio.errors import RuleError


def conformal_threshold(scores: Tensor, max_refusal: float) -> float:
    """The threshold above which a new familiar image falls with at most a given chance.

    The ``k``-th smallest of ``n`` scores with ``k = ceil((n + 1) (1 - max_refusal))``.
    If calibration images and a new image are exchangeable, the new score exceeds it
    with probability at most ``max_refusal``, for every ``n`` and every distribution,
    over the draw of both (split conformal prediction: Papadopoulos et al. 2002;
    Vovk, Gammerman & Shafer 2005).

    Args:
        scores: ``(n,)``, larger for stranger images; none of them trained on.
        max_refusal: The share of familiar images that may be refused, in (0, 1).

    Returns:
        The threshold; infinite when ``n`` is below :func:`images_needed`, because
        no finite one keeps the promise.

    Raises:
        RuleError: ``max_refusal`` is outside (0, 1).
    """
    if not 0.0 < max_refusal < 1.0:
        raise RuleError(f"--max-refusal must be between 0 and 1 (excluded), got {max_refusal:g}")
    n = len(scores)
    # The small slack keeps (n + 1)(1 - A) = 99.00000000000001 from becoming 100.
    k = math.ceil((n + 1) * (1.0 - max_refusal) - 1e-9)
    if k > n:
        return math.inf
    return float(scores.kthvalue(k).values)


def images_needed(max_refusal: float) -> int:
    """How many calibration images a promise needs at least: ``ceil(1 / A) - 1``."""
    return math.ceil(1.0 / max_refusal - 1e-9) - 1
