"""Promise a risk: the largest coverage at which errors stay below a share, with confidence.

Candidates for the threshold are tested one after the other, the strictest first, until one
fails: *fixed-sequence testing*, one of the procedures of Learn then Test (Angelopoulos, Bates,
Candes, Jordan & Lei 2021, *Learn then test: calibrating predictive algorithms to achieve risk
control*). Each test is exact: of ``n`` accepted images with an error rate above ``R``, at most
``k`` are wrong with a chance below

    P(Binomial(n, R) <= k).

Where that is at most ``1 - P`` the candidate passes. A candidate whose error rate is above R
passes with a chance of at most ``1 - P``, and no looser one is reached unless the first such
one passed; so the whole sequence errs with a chance of at most ``1 - P``, without a correction
for how many there are. This needs candidates that were fixed beforehand: they are read from
a few of the images, the *pilot*, which are not tested on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nescio.errors import RuleError

CANDIDATES = 200
"""How many thresholds are tested at most."""

MOST_PILOT = 200
"""Images that candidates are read from, at most; and at most a tenth of all."""

HEADROOM = 1.6
"""The strictest candidate should accept so many times the least number that could pass: enough
for one error among them."""

DEVIATIONS = 1.0
"""And so many standard deviations more, of the coverage of a quantile read from the pilot: a
sequence that begins with too few accepted images ends at once."""


@dataclass(frozen=True)
class Certificate:
    """A threshold with its promise.

    Attributes:
        threshold: Accept where the doubt is at most this; infinite for all images.
        accepted: How many of the images tested on it accepts.
        errors: How many of these were answered wrongly.
        bound: The error rate is at most this, with the confidence that was asked for
            (Clopper & Pearson 1934); it is no larger than the risk that was allowed.
    """

    threshold: float
    accepted: int
    errors: int
    bound: float


def accepted_needed(max_risk: float, confidence: float) -> int:
    """How many images must be accepted, all rightly, for the promise: 2,995 for 0.1 % at 95 %."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_risk) - 1e-9)


def calibration_needed(max_risk: float, confidence: float) -> int:
    """How many familiar calibration images the promise takes at least, the pilot included."""
    accepted = accepted_needed(max_risk, confidence)
    return next(n for n in range(accepted, 2 * accepted + 20) if n - pilot_size(n) >= accepted)


def pilot_size(images: int) -> int:
    """How many of the calibration images serve to choose candidates."""
    return min(images // 10, MOST_PILOT)


def check_promise(max_risk: float | None, confidence: float) -> None:
    """Refuse a promise that is none.

    Raises:
        RuleError: The risk or the confidence is outside (0, 1).
    """
    if max_risk is not None and not 0.0 < max_risk < 1.0:
        raise RuleError(f"--max-risk must be between 0 and 1 (excluded), got {max_risk:g}")
    if not 0.0 < confidence < 1.0:
        raise RuleError(f"--confidence must be between 0 and 1 (excluded), got {confidence:g}")


def risk_bound(errors: int, accepted: int, confidence: float) -> float:
    """The one-sided exact upper bound of an error rate (Clopper & Pearson 1934)."""
    from scipy.special import bdtri

    return 1.0 if errors >= accepted else float(bdtri(errors, accepted, 1 - confidence))


def certify(
    doubt: Tensor, wrong: Tensor, *, max_risk: float, confidence: float
) -> Certificate | None:
    """The loosest threshold on the doubt that promises the risk.

    Args:
        doubt: ``(n,)`` of familiar images held out of training, exchangeable with those to
            come and in no order that depends on them.
        wrong: ``(n,)`` bool, whether each was answered wrongly.
        max_risk: The largest error rate among accepted images, ``R``.
        confidence: ``P``, over the draw of the images.

    Returns:
        The certificate, or ``None``: there is no valid threshold.

    Raises:
        RuleError: The risk or the confidence is outside (0, 1).
    """
    check_promise(max_risk, confidence)
    pilot = pilot_size(len(doubt))
    needed = accepted_needed(max_risk, confidence)
    if len(doubt) - pilot < needed:
        return None
    thresholds = _candidates(doubt[:pilot].double(), needed / (len(doubt) - pilot))
    # What is tested must be what will be compared, to the last digit.
    thresholds = thresholds.to(doubt.dtype).double()
    return _fixed_sequence(
        thresholds, doubt[pilot:].double(), wrong[pilot:], max_risk=max_risk, confidence=confidence
    )


def _candidates(pilot: Tensor, least: float) -> Tensor:
    """Rising thresholds: quantiles of the pilot from the least useful coverage to all.

    Args:
        pilot: ``(m,)`` doubts.
        least: The coverage at which as many are accepted as could pass without an error.
    """
    everything = torch.full((1,), math.inf, dtype=torch.float64)
    if len(pilot) < 2 or least >= 0.95:
        return everything
    first = min(HEADROOM * least, 0.95)
    first = min(first + DEVIATIONS * math.sqrt(first * (1 - first) / len(pilot)), 0.95)
    shares = torch.linspace(first, 1, CANDIDATES, dtype=torch.float64)
    return torch.cat([torch.quantile(pilot.cpu(), shares), everything])


def _fixed_sequence(
    thresholds: Tensor, doubt: Tensor, wrong: Tensor, *, max_risk: float, confidence: float
) -> Certificate | None:
    from scipy.special import bdtr

    order = doubt.argsort()
    errors_so_far = torch.cat([torch.zeros(1, dtype=torch.int64), wrong[order].long().cumsum(0)])
    accepted = torch.searchsorted(doubt[order].contiguous(), thresholds, right=True)
    errors = errors_so_far[accepted]
    p_values = torch.from_numpy(bdtr(errors.double().numpy(), accepted.numpy(), max_risk))
    # Nobody accepted is no evidence.
    passed = (accepted > 0) & (p_values <= 1 - confidence)
    last = int(passed.long().cumprod(0).sum()) - 1
    if last < 0:
        return None
    n, k = int(accepted[last]), int(errors[last])
    return Certificate(float(thresholds[last]), n, k, risk_bound(k, n, confidence))
