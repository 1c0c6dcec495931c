"""What is compared: one class for each method, all on the same network, data and batch.

Each peer is used as its own documentation shows, with its defaults where it has any.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nescio.data import to_float
from nescio.inference import (
    DEFAULT,
    BayesianNetwork,
    Categorical,
    MeanField,
    NormalPrior,
    random_parameters,
)
from nescio.inference.engine import ENGINES, EngineOptions
from nescio.inference.scale import SCALE_MAPS
from nescio.network import lay_out
from nescio.prediction import SampledNetworks, stream_logits

LEARNING_RATE = 1e-3
BATCH = 1000
"""Images at a time in prediction."""


class Contender(Protocol):
    """One method on one network."""

    def step(self, x: Tensor, y: Tensor) -> None:
        """One training step on ``x`` ``(n, K, H, W)`` float32 and ``y`` ``(n,)``."""

    def predict(self, images: Tensor, samples: int) -> Tensor:
        """Mean probabilities ``(N, C)`` over ``samples`` networks; images are uint8."""


def mean_of(forward: Callable[[Tensor], Tensor], images: Tensor, samples: int) -> Tensor:
    """The mean of ``softmax(forward(x))`` over so many calls, batch by batch."""
    with torch.no_grad():
        parts = []
        for part in images.split(BATCH):
            x = to_float(part)
            total = forward(x).softmax(-1)
            for _ in range(samples - 1):
                total += forward(x).softmax(-1)
            parts.append(total / samples)
        return torch.cat(parts)


class Plain:
    """The ordinary network; "samples" are repeated passes."""

    def __init__(self, network: nn.Module, size: int) -> None:  # noqa: ARG002
        self.network = network
        self.optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimiser.zero_grad()
        F.cross_entropy(self.network(x), y).backward()
        self.optimiser.step()

    def predict(self, images: Tensor, samples: int) -> Tensor:
        return mean_of(self.network.eval(), images, samples)


class Dropout(Plain):
    """MC dropout (Gal & Ghahramani 2016): dropout of one half before the last layer."""

    def __init__(self, network: nn.Module, size: int) -> None:
        assert isinstance(network, nn.Sequential)
        super().__init__(nn.Sequential(*network[:-1], nn.Dropout(0.5), network[-1]), size)

    def predict(self, images: Tensor, samples: int) -> Tensor:
        return mean_of(self.network.train(), images, samples)


class Ensemble:
    """Five networks, each trained on the batch."""

    def __init__(self, network: nn.Module, size: int) -> None:
        self.members = []
        for seed in range(5):
            torch.manual_seed(seed)
            member = copy.deepcopy(network)
            for module in member.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
            self.members.append(Plain(member, size))

    def step(self, x: Tensor, y: Tensor) -> None:
        for member in self.members:
            member.step(x, y)

    def predict(self, images: Tensor, samples: int) -> Tensor:  # noqa: ARG002 - it has five
        return torch.stack([m.predict(images, 1) for m in self.members]).mean(0)


class Nescio:
    """nescio with either engine, and with all weights random or the head's only."""

    def __init__(
        self,
        network: nn.Module,
        size: int,
        *,
        engine: str = "torch",
        random: str = "all",
        options: EngineOptions | None = None,
        scale: str = DEFAULT.scale,
    ) -> None:
        self.network = network = lay_out(network)  # as nescio.fit does
        model = BayesianNetwork(network, NormalPrior(1.0), Categorical(), size, random=random)
        chosen = random_parameters(network, random)
        self.guide = MeanField.around(
            {n: p.detach() for n, p in chosen.items()}, 0.05, SCALE_MAPS[scale]
        )
        self.engine = ENGINES[engine](model, self.guide, options)
        self.fixed = [p for n, p in network.named_parameters() if n not in chosen]
        self.size = size
        self.optimiser = torch.optim.Adam(
            [*self.guide.parameters(), *self.fixed], lr=LEARNING_RATE, fused=True
        )

    def step(self, x: Tensor, y: Tensor) -> None:
        for parameter in self.fixed:
            parameter.grad = None
        self.engine.step(x, y, 1.0 / self.size)
        self.optimiser.step()

    def predict(self, images: Tensor, samples: int) -> Tensor:
        networks = SampledNetworks.prepare(
            self.network.eval(), self.guide, images, classes=10, seed=0, batch_size=BATCH
        )
        chunks = stream_logits(networks, images, samples)
        return torch.cat([chunk.softmax(-1).mean(0) for chunk in chunks])


class BayesianTorch:
    """bayesian-torch: ``dnn_to_bnn`` with the reparameterisation or the flipout layers."""

    def __init__(self, network: nn.Module, size: int, kind: str = "Reparameterization") -> None:
        from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn, get_kl_loss

        options = {
            "prior_mu": 0.0, "prior_sigma": 1.0, "posterior_mu_init": 0.0,
            "posterior_rho_init": -3.0, "type": kind, "moped_enable": False, "moped_delta": 0.5,
        }  # fmt: skip
        dnn_to_bnn(network, options)
        self.network, self.kl, self.size = network, get_kl_loss, size
        self.optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimiser.zero_grad()
        loss = F.cross_entropy(self.network(x), y)
        (loss + self.kl(self.network) / self.size).backward()
        self.optimiser.step()

    def predict(self, images: Tensor, samples: int) -> Tensor:
        return mean_of(self.network.eval(), images, samples)


class Blitz:
    """blitz: its own layers in place of each linear or convolution layer."""

    def __init__(self, network: nn.Module, size: int) -> None:
        from blitz.modules import BayesianConv2d, BayesianLinear
        from blitz.utils import variational_estimator

        assert isinstance(network, nn.Sequential)
        layers = []
        for layer in network:
            if isinstance(layer, nn.Linear):
                layers.append(BayesianLinear(layer.in_features, layer.out_features))
            elif isinstance(layer, nn.Conv2d):
                layers.append(
                    BayesianConv2d(
                        layer.in_channels, layer.out_channels, layer.kernel_size, padding=1
                    )
                )
            else:
                layers.append(layer)

        @variational_estimator
        class Estimator(nn.Sequential):
            pass

        self.network, self.size = Estimator(*layers), size
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE, fused=True)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimiser.zero_grad()
        loss = self.network.sample_elbo(
            inputs=x, labels=y, criterion=nn.CrossEntropyLoss(), sample_nbr=1,
            complexity_cost_weight=1 / self.size,
        )  # fmt: skip
        loss.backward()
        self.optimiser.step()

    def predict(self, images: Tensor, samples: int) -> Tensor:
        return mean_of(self.network.eval(), images, samples)


class Ivon:
    """ivon-opt: improved variational online Newton, as its README shows."""

    def __init__(self, network: nn.Module, size: int) -> None:
        from ivon import IVON

        self.network = network
        self.optimiser = IVON(network.parameters(), lr=0.1, ess=size)

    def step(self, x: Tensor, y: Tensor) -> None:
        with self.optimiser.sampled_params(train=True):
            self.optimiser.zero_grad()
            F.cross_entropy(self.network(x), y).backward()
        self.optimiser.step()

    def predict(self, images: Tensor, samples: int) -> Tensor:
        def forward(x: Tensor) -> Tensor:
            with self.optimiser.sampled_params():
                return self.network(x)

        self.network.eval()
        return mean_of(forward, images, samples)


class Laplace(Plain):
    """laplace-torch: the trained plain network, a Laplace approximation of the last layer."""

    def __init__(self, network: nn.Module, size: int) -> None:
        from laplace import Laplace as Approximation

        super().__init__(network, size)
        self.approximation = Approximation

    def fit(self, images: Tensor, labels: Tensor) -> None:
        data = torch.utils.data.TensorDataset(to_float(images), labels)
        self.posterior = self.approximation(
            self.network.eval(), "classification", subset_of_weights="last_layer",
            hessian_structure="kron",
        )  # fmt: skip
        self.posterior.fit(torch.utils.data.DataLoader(data, batch_size=BATCH))

    def predict(self, images: Tensor, samples: int) -> Tensor:
        return torch.cat(
            [
                self.posterior(
                    to_float(part), pred_type="nn", link_approx="mc", n_samples=samples
                ).detach()
                for part in images.split(BATCH)
            ]
        )
