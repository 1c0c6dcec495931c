"""Weight noise from a ring, and the maps from raw values to scales."""

import math

import pytest
import torch
from scipy import stats

from nescio.inference.noise import RING_ABOVE, USES, Noise
from nescio.inference.scale import SCALE_MAPS

CPU = torch.device("cpu")
LARGE = [torch.Size([300, 250]), torch.Size([250]), torch.Size([7, 3, 2])]
SMALL = [torch.Size([5, 3]), torch.Size([2])]


def draws(shapes: list[torch.Size], steps: int) -> list[list[torch.Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise = Noise([torch.empty(shape) for shape in shapes], CPU)
        return [[part.clone() for part in noise()] for _ in range(steps)]


@pytest.mark.parametrize("shapes", [SMALL, LARGE])
def test_shapes_and_seed(shapes: list[torch.Size]) -> None:
    found = draws(shapes, 3)
    assert [part.shape for part in found[0]] == shapes
    for step, again in zip(found, draws(shapes, 3), strict=True):
        assert all(map(torch.equal, step, again))


@pytest.mark.parametrize("step", [0, 1, 40])
def test_one_step_is_standard_normal(step: int) -> None:
    values = torch.cat([part.flatten() for part in draws(LARGE, step + 1)[step]]).numpy()
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(stats.pearsonr(values[:-1], values[1:]).statistic) < 5 / math.sqrt(len(values))


def test_one_weight_over_steps_is_standard_normal_and_fresh() -> None:
    # Not a single number may come back to the same weight within the steps that it lives.
    series = torch.stack([parts[0].flatten()[:2000] for parts in draws(LARGE, 2 * USES)])
    repeated = sum(int((a == b).sum()) for i, a in enumerate(series) for b in series[:i])
    assert repeated <= 2 * 2000  # a place drawn twice repeats a whole stretch; twice at most
    assert stats.kstest(series[:, ::50].flatten().numpy(), "norm").pvalue > 1e-3
    means = series.mean(0) * math.sqrt(len(series))
    assert stats.kstest(means.numpy(), "norm").pvalue > 1e-3


def test_every_number_of_the_ring_is_replaced_in_turn() -> None:
    noise = Noise([torch.empty(shape) for shape in LARGE], CPU)
    before = noise._buffer.clone()
    for _ in range(2 * USES + 1):
        noise()
    assert not bool((noise._buffer == before).any())


def test_noise_lies_in_memory_as_its_weight_does() -> None:
    weight = torch.empty(64, 64, 5, 5).contiguous(memory_format=torch.channels_last)
    (noise,) = Noise([weight], CPU)()
    assert (noise.shape, noise.stride()) == (weight.shape, weight.stride())
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 1e-3


def test_few_weights_are_drawn_afresh() -> None:
    assert sum(s.numel() for s in SMALL) < RING_ABOVE <= sum(s.numel() for s in LARGE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = [torch.randn(shape) for shape in SMALL]
    assert all(map(torch.equal, draws(SMALL, 1)[0], expected))


@pytest.mark.parametrize("name", ["softplus", "exp"])
@pytest.mark.parametrize("entropy", [0.0, 0.7])
def test_pull_back_is_the_chain_rule(name: str, entropy: float) -> None:
    scale_map = SCALE_MAPS[name]
    raw = torch.linspace(-12, 4, 50, dtype=torch.float64, requires_grad=True)
    by_scale = torch.linspace(-2, 3, 50, dtype=torch.float64)
    scale = scale_map(raw)
    (expected,) = torch.autograd.grad((by_scale * scale - entropy * scale.log()).sum(), raw)
    plain = raw.detach()
    out = torch.empty_like(plain)
    assert torch.equal(scale_map(plain, out=out), scale.detach())
    found = by_scale.clone()
    scale_map.pull_back(found, plain, out, entropy, torch.empty_like(plain))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["softplus", "exp"])
@pytest.mark.parametrize("scale", [1e-6, 0.05, 1.0, 30.0])
def test_inverse(name: str, scale: float) -> None:
    raw = torch.tensor(SCALE_MAPS[name].inverse(scale), dtype=torch.float64)
    assert float(SCALE_MAPS[name](raw)) == pytest.approx(scale, rel=1e-6)
