"""The Bayesian network as a Pyro program: priors over weights, likelihood of labels.

    w_i ~ prior_i                      for every weight and bias i
    y_n ~ likelihood(network_w(x_n))   for every image n

The network itself is an ordinary ``nn.Module``: it is *lifted* by running it
with sampled weights in place of its own (:func:`torch.func.functional_call`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.func import functional_call

from nescio.errors import ArchitectureError
from nescio.inference.likelihood import Likelihood
from nescio.inference.prior import Prior

NORMALISATION = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)
"""Layers whose scale and shift stay point estimates: two random factors in a row
(a weight and the scale that multiplies it) are not identified from each other."""


def random_parameters(network: nn.Module, choice: str = "all") -> dict[str, nn.Parameter]:
    """The parameters that become random variables, by name.

    Never among them: frozen ones (``requires_grad=False``) and those of normalisation
    layers. A parameter that several layers share is one variable.

    Args:
        network: Any module.
        choice: ``all``; ``head``, those of the last layer that has any; or patterns for
            their names with shell wildcards, such as ``3.*`` or ``layer4.*,fc.*``. The
            rest stays an ordinary network, trained along.

    Raises:
        ArchitectureError: None is left, or a lazy layer has no shape yet.
    """
    kept_out = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, NORMALISATION)
        for parameter in module.parameters(recurse=False)
    }
    able = {}
    for name, parameter in network.named_parameters():
        if isinstance(parameter, nn.UninitializedParameter):
            raise ArchitectureError(
                f"parameter {name!r} has no shape yet; run the network once on an image "
                "before it is lifted"
            )
        if parameter.requires_grad and id(parameter) not in kept_out:
            able[name] = parameter
    if not able:
        raise ArchitectureError("the network has no trainable weight that could become random")
    chosen = {name: able[name] for name in _chosen(list(able), choice)}
    if not chosen:
        raise ArchitectureError(
            f"--random {choice}: no such weights; there are {', '.join(list(able)[:12])}"
            + (", ..." if len(able) > 12 else "")
        )
    return chosen


def _chosen(names: Sequence[str], choice: str) -> list[str]:
    if choice == "all":
        return list(names)
    if choice == "head":
        last = names[-1].rpartition(".")[0]
        return [name for name in names if name.rpartition(".")[0] == last]
    patterns = choice.split(",")
    return [name for name in names if any(fnmatchcase(name, p) for p in patterns)]


class BayesianNetwork:
    """A network whose weights are random variables; the model that is fitted.

    Attributes:
        network: The lifted ``nn.Module``. Parameters that are not random
            (:func:`random_parameters`) keep their own values.
        priors: A distribution for each random parameter, by name.
        likelihood: From the network's output to a distribution of the labels.
        size: How many images the whole training set has.
        random: Which parameters are random variables, see :func:`random_parameters`.
        scale_likelihood: Whether a batch speaks for the whole set, as the ELBO
            demands. ``False`` is the article's slip: each step then weighs the KL
            ``size / len(batch)`` times too much.
    """

    def __init__(
        self,
        network: nn.Module,
        prior: Prior,
        likelihood: Likelihood,
        size: int,
        *,
        random: str = "all",
        scale_likelihood: bool = True,
    ) -> None:
        self.network = network
        self.priors: Mapping[str, dist.Distribution] = {
            name: prior(name, parameter.detach())
            for name, parameter in random_parameters(network, random).items()
        }
        self.likelihood = likelihood
        self.random = random
        self.size = size
        self.scale_likelihood = scale_likelihood

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The generative story: weights from the prior, labels from the network.

        Args:
            x: ``(n, K, H, W)`` float32, a batch of images.
            y: ``(n,)`` int64, their labels; ``None`` to draw labels.

        Returns:
            The network's output ``(n, ...)`` under the sampled weights.
        """
        weights = {name: pyro.sample(name, prior) for name, prior in self.priors.items()}
        output: Tensor = functional_call(self.network, weights, (x,))
        size = self.size if self.scale_likelihood else len(x)
        # The batch is chosen by whoever calls, so the plate is told its indices:
        # left to itself it would permute the whole set at every step.
        batch = torch.arange(len(x), device=x.device)
        with pyro.plate("data", size=size, subsample=batch):
            pyro.sample("label", self.likelihood(output), obs=y)
        return output
