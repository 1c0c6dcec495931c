"""The evidence lower bound, in its two parts.

    ELBO = E_q[log p(y | x, w)] - KL(q(w) || p(w))  <=  log p(y | x)

(Jordan et al. 1999, *An introduction to variational methods for graphical
models*; in this form for networks: Graves 2011, Blundell et al. 2015.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import kl_divergence


@dataclass(frozen=True)
class Elbo:
    """One estimate of the ELBO, from one sampled network.

    Attributes:
        log_likelihood: E_q[log p(y | x, w)] for the whole set, in nats, 0-d.
        kl: KL(q || p), in nats, 0-d.
    """

    log_likelihood: Tensor
    kl: Tensor

    @property
    def value(self) -> Tensor:
        """The bound itself, in nats, 0-d."""
        return self.log_likelihood - self.kl


def estimate_elbo(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    *arguments: Tensor,
    analytic_kl: bool = True,
) -> Elbo:
    """Run guide and model once, and take the ELBO apart.

    The weights are sampled by the guide with reparameterised noise, so the parts
    are differentiable in the guide's parameters.

    Args:
        model: A Pyro program with observed sites.
        guide: A Pyro program whose sample sites are the model's latent sites.
        arguments: Passed to both.
        analytic_kl: Use the closed form of the KL where PyTorch knows one. With
            ``False`` (and where it knows none) the KL is estimated from the one
            sample as log q(w) - log p(w), as Pyro's ``Trace_ELBO`` does.
    """
    guide_trace = poutine.trace(guide).get_trace(*arguments)
    replayed = poutine.replay(model, trace=guide_trace)
    model_trace = poutine.trace(replayed).get_trace(*arguments)
    log_likelihood = torch.zeros(())
    kl = torch.zeros(())
    for name, site in model_trace.nodes.items():
        # A plate is a sample site to Pyro, but it has no probability.
        if site["type"] != "sample" or type(site["fn"]).__name__ == "_Subsample":
            continue
        if site["is_observed"]:
            log_prob = site["fn"].log_prob(site["value"]).sum()
            log_likelihood = log_likelihood.to(log_prob.device) + site["scale"] * log_prob
        else:
            term = _kl_term(guide_trace.nodes[name], site, analytic=analytic_kl)
            kl = kl.to(term.device) + term
    return Elbo(log_likelihood, kl)


def _kl_term(guide_site: dict[str, Any], model_site: dict[str, Any], *, analytic: bool) -> Tensor:
    if analytic:
        try:
            return kl_divergence(guide_site["fn"], model_site["fn"]).sum()
        except NotImplementedError:
            pass  # no closed form for this pair: one sample stands in for it
    value = guide_site["value"]
    return (guide_site["fn"].log_prob(value) - model_site["fn"].log_prob(value)).sum()  # type: ignore[no-any-return]
