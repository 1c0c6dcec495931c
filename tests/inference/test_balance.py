"""Classes of unequal size: weights by hand, draws by counting, both engines alike."""

from dataclasses import replace

import pytest
import torch
from tests_support import QUICK, Told, small_network, stripes
from torch import Tensor, nn

from nescio.data import ImageSet
from nescio.errors import UsageError
from nescio.inference import (
    BayesianNetwork,
    Categorical,
    Job,
    MeanField,
    NormalPrior,
    Weighted,
    fit_guide,
    tell_imbalance,
)
from nescio.inference.balance import balanced_order, class_weights
from nescio.inference.engine import EngineOptions, PyroEngine, TorchEngine

LABELS = torch.tensor([0] * 6 + [1] * 2 + [3] * 4)
"""12 images of three classes; class 2 has none."""


def test_weights_by_hand() -> None:
    weights = class_weights(LABELS, 4)
    assert weights.tolist() == pytest.approx([12 / 18, 12 / 6, 0, 12 / 12])
    assert float(weights[LABELS].mean()) == pytest.approx(1)


def test_draws_are_balanced_and_reach_every_image() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([balanced_order(LABELS, generator) for _ in range(1000)])
    counts = torch.bincount(drawn, minlength=12).double()
    by_class = torch.bincount(LABELS[drawn], minlength=4).double()
    assert by_class[2] == 0
    # 12,000 draws, a third for each class: five standard deviations are 258.
    assert float((by_class[[0, 1, 3]] - 4000).abs().max()) < 258
    expected = 4000 / torch.tensor([6.0] * 6 + [2.0] * 2 + [4.0] * 4, dtype=torch.float64)
    assert float(((counts - expected).abs() / expected.sqrt()).max()) < 5


def test_a_weighted_image_counts_as_so_many() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([0, 0, 0, 2])
    weighted = Weighted(Categorical(), torch.tensor([1.0, 1.0, 3.0]))(logits)
    repeated = torch.tensor([0, 1, 2, 3, 3, 3])
    plain = Categorical()(logits[repeated]).log_prob(y[repeated])
    assert float(weighted.log_prob(y).sum()) == pytest.approx(float(plain.sum()))
    assert weighted.sample().shape == (4,)


def step(kind: type[PyroEngine] | type[TorchEngine]) -> tuple[float, dict[str, Tensor]]:
    network = small_network()
    likelihood = Weighted(Categorical(), torch.tensor([0.5, 1.0, 4.0]))
    model = BayesianNetwork(network, NormalPrior(1.0), likelihood, 60)
    guide = MeanField.around({n: p.detach() for n, p in network.named_parameters()}, 0.3)
    x = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        elbo = kind(model, guide, EngineOptions()).step(x, torch.arange(6) % 3, 1 / 60)
    gradients = {name: p.grad.clone() for name, p in guide.loc.items() if p.grad is not None}
    return float(elbo.log_likelihood), gradients


def test_both_engines_weigh_alike() -> None:
    slow, fast = step(PyroEngine), step(TorchEngine)
    assert fast[0] == pytest.approx(slow[0], rel=1e-5)
    for name, gradient in slow[1].items():
        torch.testing.assert_close(fast[1][name], gradient, rtol=1e-4, atol=1e-6)


def unequal() -> ImageSet:
    """Images that say nothing of their class: 180 of one, 20 of the other."""
    images = torch.zeros(200, 1, 6, 6, dtype=torch.uint8)
    labels = (torch.arange(200) % 10 == 0).long()
    return ImageSet("unequal", images, labels, ("often", "seldom"))


@pytest.mark.parametrize("balance", ["none", "weighted", "sampled"])
def test_what_a_class_has_to_say(balance: str) -> None:
    # With nothing to see, the best answer is how often each class counts.
    recipe = replace(QUICK, epochs=60, batch_size=200, learning_rate=0.1, balance=balance)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    fitted = fit_guide(Job(network, unequal(), recipe))
    found = float(fitted.guide.loc["1.bias"].detach().softmax(0)[1])
    assert found == pytest.approx(0.1 if balance == "none" else 0.5, abs=0.08)


def test_very_unequal_classes_are_told_unless_seen_to() -> None:
    told = Told()
    tell_imbalance(stripes(30, 0), "none", told)
    tell_imbalance(unequal(), "weighted", told)
    assert told.notes == []
    few = unequal().subset(torch.arange(1, 102))  # 10 of 101
    tell_imbalance(few, "none", told)
    tell_imbalance(unequal().subset(torch.arange(1, 100)), "none", told)  # 9 of 99: 10 to 1
    assert len(told.notes) == 1
    assert "90 images of 'often' and 9 of 'seldom'; --balance weighted" in told.notes[0]


def test_no_such_balance() -> None:
    with pytest.raises(UsageError, match="--balance must be one of none, weighted, sampled"):
        replace(QUICK, balance="fair")
