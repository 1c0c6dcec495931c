"""What comes before the first random weight runs once, and changes nothing."""

import pytest
import torch
from torch import Tensor, nn

from nescio.inference import MeanField, random_parameters
from nescio.network import cut_network
from nescio.prediction import SampledNetworks, stream_logits


class Counting(nn.Module):
    """Counts how often it runs."""

    runs = 0  # of all: prediction works on a copy of the module

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(1, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        Counting.runs += 1
        return self.inner(x).relu().flatten(1)


class Own(nn.Module):
    """Not a Sequential; what follows the head is a choice."""

    def __init__(self, after: str = "nothing") -> None:
        super().__init__()
        self.body = Counting()
        self.fc = nn.Linear(12, 3)
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x)
        logits = self.fc(features)
        if self.after == "softmax":
            return logits.log_softmax(-1)
        if self.after == "twice":
            return logits + self.fc(2 * features)
        if self.after == "skip":
            return logits + features[:, :3]
        return logits


class TiedHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.early = nn.Linear(16, 16)
        self.early.weight = self.fc.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.early(x.flatten(1)))


def sequential() -> nn.Module:
    return nn.Sequential(Counting(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))


def images(count: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=generator)


def guide_of(network: nn.Module, choice: str) -> MeanField:
    return MeanField.around(
        {n: p.detach() for n, p in random_parameters(network, choice).items()}, 0.5
    )


def predict(network: nn.Module, guide: MeanField, precision: torch.dtype = torch.float32) -> Tensor:
    networks = SampledNetworks.prepare(
        network.eval(), guide, images(), classes=3, seed=1, precision=precision
    )
    return torch.cat(list(stream_logits(networks, images(), 6)), 1)


@pytest.mark.parametrize(
    ("network", "choice", "runs"),
    [
        (sequential(), "head", 1),
        (sequential(), "1.*", 1),
        (sequential(), "all", 6),
        (sequential(), "0.inner.bias,3.*", 6),
        (Own(), "head", 1),
        (Own(), "fc.weight", 1),
        (Own("softmax"), "head", 6),
        (Own("twice"), "head", 6),
        (Own("skip"), "head", 6),
        (Own(), "all", 6),
    ],
)
def test_the_trunk_runs_once_and_the_answer_is_the_same(
    network: nn.Module, choice: str, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = guide_of(network, choice)
    found = predict(network, guide)
    Counting.runs = 0
    predict(network, guide)
    # The cut and the size of a chunk are found with a few runs more.
    assert Counting.runs - runs <= 4
    monkeypatch.setattr("nescio.network.cut._sequential", lambda *_: None)
    monkeypatch.setattr("nescio.network.cut._single_head", lambda *_: None)
    torch.testing.assert_close(found, predict(network, guide), rtol=1e-5, atol=1e-5)
    Counting.runs = 0
    predict(network, guide)
    assert Counting.runs >= 6


def test_shared_weights_are_not_cut_apart() -> None:
    network = TiedHead().eval()
    guide = guide_of(network, "fc.*")
    assert list(guide.names) == ["fc.weight", "fc.bias"]
    assert cut_network(network, guide.names, torch.rand(2, 1, 4, 4)).trunk is None


def test_the_network_is_left_as_it_is() -> None:
    network = Own().eval()
    body, fc = network.body, network.fc
    cut = cut_network(network, ["fc.weight", "fc.bias"], torch.rand(2, 1, 4, 4))
    assert cut.trunk is not None
    assert (network.body, network.fc) == (body, fc)
    assert cut.head is fc


def test_low_precision_gives_float32_logits_near_the_exact_ones() -> None:
    network = sequential().eval()
    guide = guide_of(network, "all")
    exact = predict(network, guide)
    low = predict(network, guide, torch.bfloat16)
    assert low.dtype == torch.float32
    assert not torch.equal(low, exact)
    # bfloat16 has eight bits: a relative error of 2^-9 for each of three layers' factors.
    assert float((low - exact).abs().max() / exact.abs().max()) < 6 * 2**-9
    assert not torch.is_autocast_enabled("cpu")


def test_the_caller_keeps_its_own_precision_between_chunks() -> None:
    network = sequential().eval()
    networks = SampledNetworks.prepare(
        network, guide_of(network, "all"), images(), classes=3, seed=1, precision=torch.bfloat16
    )
    next(stream_logits(networks, images(), 2))
    assert not torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled()
