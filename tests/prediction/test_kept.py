"""Networks that are kept give what networks drawn anew give."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nescio
from nescio.data import Dataset
from nescio.inference import MeanField, Mixture
from nescio.inference.posterior import Posterior
from nescio.network import cut_network
from nescio.prediction import SampledNetworks, stream_logits
from nescio.prediction.kept import KeptNetworks

IMAGES = torch.arange(0, 240, 10, dtype=torch.uint8).view(6, 1, 2, 2)


def seeded(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def linear() -> tuple[nn.Module, Posterior]:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    own = {name: seeded(p.shape) for name, p in network.named_parameters()}
    return network, MeanField.around(own, 0.3)


def weight_alone() -> tuple[nn.Module, Posterior]:
    network, _ = linear()
    return network, MeanField.around({"1.weight": seeded((3, 4))}, 0.3)


def mixture() -> tuple[nn.Module, Posterior]:
    return linear()[0], Mixture({"1.weight": seeded((3, 3, 4)), "1.bias": seeded((3, 3))})


def deep() -> tuple[nn.Module, Posterior]:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    own = {name: seeded(p.shape) for name, p in network.named_parameters()}
    return network, MeanField.around(own, 0.3)


@pytest.mark.parametrize("make", [linear, weight_alone, mixture, deep])
@pytest.mark.parametrize("most_bytes", [2**20, 500])
@pytest.mark.parametrize("batch_size", [4, 512])
def test_kept_networks_give_the_same(make: Any, most_bytes: int, batch_size: int) -> None:
    network, posterior = make()
    anew = SampledNetworks.prepare(
        network.eval(), posterior, IMAGES, classes=3, seed=7, batch_size=batch_size
    )
    kept = anew.keeping(7, most_bytes)
    for samples in (2, 5, 3, 20):  # asked for in any order, they are the same
        for images in (IMAGES, IMAGES[:1]):
            (expected,) = stream_logits(anew, images, samples)
            (found,) = stream_logits(kept, images, samples)
            torch.testing.assert_close(found, expected)
    other = kept.seeded(8)
    (found,), (expected,) = stream_logits(other, IMAGES, 4), stream_logits(kept, IMAGES, 4)
    assert torch.allclose(found, expected) == (make is mixture)  # whose networks have no seed


def test_a_network_is_drawn_once_and_no_more_are_kept_than_fit() -> None:
    drawn: list[int] = []

    def draw(generator: torch.Generator, number: int = 0) -> dict[str, Tensor]:
        drawn.append(number)
        return {"w": torch.full((10,), float(number))}

    kept = KeptNetworks(draw, 0, most_bytes=120)  # three networks of 40 bytes

    def value(weights: Mapping[str, Tensor]) -> float:
        return float(weights["w"][0])

    assert [value(kept.weights(s)) for s in (2, 0, 1, 2, 0)] == [2, 0, 1, 2, 0]
    assert drawn == [0, 1, 2]
    stacks = kept.stacks(range(1, 3))
    assert stacks is not None
    assert stacks["w"][:, 0].tolist() == [1, 2]
    assert kept.stacks(range(4)) is None
    assert [value(kept.weights(s)) for s in (4, 4, 2)] == [4, 4, 2]
    assert drawn == [0, 1, 2, 4, 4]


def test_a_layer_that_norms_its_weights_is_no_plain_product() -> None:
    torch.manual_seed(0)
    flat, layer = nn.Flatten(), nn.Linear(4, 3)
    example = torch.ones(2, 1, 2, 2)
    cut = cut_network(nn.Sequential(flat, layer), ["1.weight"], example)
    assert cut.linear == ("1.", layer)
    with pytest.warns(FutureWarning, match="weight_norm"):
        normed = nn.utils.weight_norm(layer)
    assert cut_network(nn.Sequential(flat, normed), ["1.weight_g"], example).linear is None


def test_a_predictor_answers_as_its_classifier(
    classifier: nescio.Classifier, data: Dataset
) -> None:
    assert data.test is not None
    images = data.test.images[:20]
    predictor = classifier.predictor()
    for rule in ("calibrated", "median:0.2"):
        chosen = classifier.choose_rule(rule)
        for seed in (None, 1, None):
            for samples in (60, 30):
                expected = classifier.decide(
                    images[:, 0], rule=chosen, samples=samples, seed=seed, adaptive=True
                )
                (found,) = predictor.stream_decisions(
                    images, rule=chosen, samples=samples, seed=seed, adaptive=True
                )
                assert torch.equal(found.samples, expected.samples)
                assert torch.equal(found.verdicts.top, expected.verdicts.top)
                assert torch.equal(found.accepted, expected.accepted)
                torch.testing.assert_close(found.probability, expected.probability)


def test_a_predictor_keeps_few_other_seeds(classifier: nescio.Classifier) -> None:
    predictor = classifier.predictor()
    own, first = predictor.networks(), predictor.networks(100)
    for seed in range(101, 103):
        predictor.networks(seed)
    assert predictor.networks(100) is first
    for seed in range(103, 106):
        predictor.networks(seed)
    assert predictor.networks(100) is not first
    assert predictor.networks() is own
    assert classifier.predictor(keep=0).networks().kept is None
