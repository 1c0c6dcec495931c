"""Promise a risk: the largest coverage at which errors stay below a share, with confidence.

Candidates for the threshold are tested one after the other, the strictest first. Each test is
exact: of ``n`` accepted images with an error rate above ``R``, at most ``k`` are wrong with a
chance below

    p = P(Binomial(n, R) <= k).

All tests share ``1 - P``, the chance to err. Some candidates, the *starts*, bring a share of it
along; a candidate passes where its ``p`` is at most what it has: its own share and that of its
predecessor, which a candidate that passes hands on, and one that fails loses. The loosest that
passed is the threshold. This is the *fallback procedure* (Wiens 2003, *A fixed sequence
Bonferroni procedure for testing multiple endpoints*), among those of Learn then Test (Angelopoulos,
Bates, Candes, Jordan & Lei 2021). It errs with a chance of at most ``1 - P``, whatever the tests
have to do with each other: of the candidates whose error rate is above R, say ``b1 < b2 < ...``,
none has more than the shares since the one before it, unless that one passed; so the first that
passes errs within these, which together are at most ``1 - P``. It needs candidates and shares that
were fixed beforehand: candidates are read from a few of the images, the *pilot*, which are not
tested on, and are the same for every R.

*A threshold for R serves every R' > R.* Start ``j`` expects to accept ``n_j`` images. Of ``1 - P``

    A_j(R) = min(1 - P, (1 - R)^n_(j-1)),    A_1 = 1 - P,

is for the starts from ``j`` on, so ``A_j - A_(j+1)`` for start ``j``: none while it accepts too few
to show R, most from then on, and little as R grows beyond, when stricter starts can show it. With
``u = -log(1 - R)``, ``p`` is the chance that of ``n`` exponential lives more than ``n - k - 1``
outlast ``u``: a sum of independent exponential times is above ``u``. The logarithm of that is
concave and 0 at 0, so ``p(u') <= p(u)^(u'/u)`` for ``u' > u``. What a run of starts ``j .. l`` has,
``a = A_j - A_(l+1)``, is ``1 - P - e^(-Mu)`` at first, which rises; then ``e^(-mu) - e^(-Mu)`` with
``m < M``, whose ``u``-th root rises, so that ``a(u') >= a(u)^(u'/u)``. Hence what passed for R
passes for R'. In the same way what passes with one confidence passes with every smaller one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nescio.errors import RuleError

CANDIDATES = 200
"""How many thresholds are tested besides the starts: quantiles of the pilot, equally far apart."""

MOST_PILOT = 200
"""Images that candidates are read from, at most; and at most a tenth of all."""

LOOSEST, RATIO = 0.9, 1.5
"""The share of the images that the loosest start but for all images is expected to accept, and
how many times fewer each stricter one is."""

HEADROOM = 1.2
"""A start lies at so many times the coverage that it is expected to have,"""

DEVIATIONS = 1.0
"""and so many standard deviations more, of the coverage of a quantile read from the pilot: enough
for an error among the surest, and seldom too few accepted images to show anything,"""

MOST_COVERAGE = 0.97
"""but not above this."""


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
    tested = len(doubt) - pilot
    if tested < accepted_needed(max_risk, confidence):
        return None
    candidates = choose_candidates(doubt[:pilot].double().cpu(), tested)
    # What is tested must be what will be compared, to the last digit.
    thresholds = candidates.thresholds.to(doubt.dtype).double()
    accepted, errors = _counts(thresholds, doubt[pilot:].double().cpu(), wrong[pilot:].cpu())
    last = last_passed(
        p_values(accepted, errors, max_risk), candidates.shares(max_risk, confidence)
    )
    if last is None:
        return None
    n, k = int(accepted[last]), int(errors[last])
    return Certificate(float(thresholds[last]), n, k, risk_bound(k, n, confidence))


@dataclass(frozen=True)
class Candidates:
    """What is tested, fixed before it: ``K`` thresholds, ``J`` of them starts.

    Attributes:
        thresholds: ``(K,)`` float64, rising; the last is infinite and a start.
        starts: The places of the starts, rising.
        expected: How many images each start is expected to accept, rising.
    """

    thresholds: Tensor
    starts: tuple[int, ...]
    expected: tuple[float, ...]

    def shares(self, max_risk: float, confidence: float) -> list[float]:
        """Which part of ``1 - P`` each candidate brings along, ``K`` numbers."""
        whole = 1 - confidence
        # What an earlier start could show at best, without an error, is left to the later ones.
        left = [min(whole, (1 - max_risk) ** n) for n in self.expected[:-1]]
        shares = [0.0] * len(self.thresholds)
        for place, own, rest in zip(self.starts, [whole, *left], [*left, 0.0], strict=True):
            shares[place] += own - rest
        return shares


def choose_candidates(pilot: Tensor, tested: int) -> Candidates:
    """Quantiles of the pilot, from the strictest start to all.

    Args:
        pilot: ``(m,)`` doubts, float64.
        tested: How many images are tested on.
    """
    m = len(pilot)
    everything = torch.full((1,), math.inf, dtype=torch.float64)
    if m < 2:
        return Candidates(everything, (0,), (float(tested),))
    count = max(1, 1 + int(math.log(max(1.0, LOOSEST * tested), RATIO)))
    expected = [LOOSEST * tested / RATIO**j for j in reversed(range(count))]
    coverage = [_start(n / tested, m) for n in expected]
    evenly = torch.linspace(0, 1, CANDIDATES + 1, dtype=torch.float64).tolist()
    grid = sorted({*coverage, *(c for c in evenly if c > coverage[0])})
    quantiles = torch.quantile(pilot, torch.tensor(grid, dtype=torch.float64))
    return Candidates(
        torch.cat([quantiles, everything]),
        (*(grid.index(c) for c in coverage), len(grid)),
        (*expected, float(tested)),
    )


def _start(coverage: float, pilot: int) -> float:
    """The quantile of so many pilot images at which a start lies."""
    enough = min(HEADROOM * coverage, MOST_COVERAGE)
    return min(enough + DEVIATIONS * math.sqrt(enough * (1 - enough) / pilot), MOST_COVERAGE)


def _counts(thresholds: Tensor, doubt: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
    """How many images each threshold accepts, and how many of these were wrong, ``(K,)`` each."""
    order = doubt.argsort()
    errors_so_far = torch.cat([torch.zeros(1, dtype=torch.int64), wrong[order].long().cumsum(0)])
    accepted = torch.searchsorted(doubt[order].contiguous(), thresholds, right=True)
    return accepted, errors_so_far[accepted]


def p_values(accepted: Tensor, errors: Tensor, max_risk: float) -> list[float]:
    """The chance of so few errors at an error rate of ``max_risk``, for each candidate."""
    from scipy.special import bdtr

    chances = torch.from_numpy(bdtr(errors.double().numpy(), accepted.numpy(), max_risk))
    # Nobody accepted is no evidence.
    return chances.masked_fill(accepted == 0, 1.0).tolist()


def last_passed(p_values: Sequence[float], shares: Sequence[float]) -> int | None:
    """The last candidate that the fallback procedure passes; ``None`` for none.

    Args:
        p_values: Of the candidates in their order.
        shares: The chance to err that each brings along.
    """
    last, chance = None, 0.0
    for place, (p, own) in enumerate(zip(p_values, shares, strict=True)):
        chance += own
        if chance > 0.0 and p <= chance:
            last = place
        else:
            chance = 0.0
    return last
