"""Shares of a batch: weighed and added up they are the whole batch, and the KL counts once."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from nescio.data import to_float
from nescio.inference import DEFAULT, Job
from nescio.inference.job import CPU
from nescio.inference.learner import Learner, mean_field
from nescio.inference.parts import Parts
from nescio.inference.point import point
from nescio.inference.run import engine_options
from nescio.network import lay_out
from nescio.ranks import Ranks


@dataclass
class Seat:
    """One of several processes, whose sums are of itself alone."""

    rank: int
    size: int
    place: torch.device = CPU

    def sum_(self, values: Tensor) -> Tensor:
        return values

    def gather(self, values: Tensor) -> list[Tensor]:
        return [values] * self.size

    def wait(self) -> None:
        pass


def seats(size: int) -> list[Ranks]:
    return [Seat(rank, size) for rank in range(size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 6, 7, 128])
def test_every_image_counts_once(size: int, count: int) -> None:
    batch = torch.randperm(500)[:count]
    parts = [Parts(each).own(batch) for each in seats(size)]
    assert torch.equal(torch.cat([own for own, weight in parts if weight]), batch)
    assert sum(weight for _, weight in parts) == pytest.approx(1.0)
    for own, weight in parts:
        assert len(own) > 0  # all take part in the sums
        assert weight in (0.0, pytest.approx(len(own) / count))


def learner_of(job: Job, make=point) -> Learner:
    options = replace(engine_options(job), generator=torch.Generator().manual_seed(0))
    found: Learner = make(job.bayesian(job.network), job.recipe, options, torch.Generator())
    found.prepare(to_float(job.train.images[:2]))
    return found


def job_of(images, network: nn.Module) -> Job:
    recipe = replace(DEFAULT, random="all", augment="none", estimator="shared")
    return Job(lay_out(network), images, recipe)


@pytest.fixture
def images():
    from tests_support import stripes

    return stripes(40, 0)


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("make", [point, mean_field], ids=["point", "mean field"])
def test_gradients_of_shares_add_up_to_those_of_the_batch(images, size: int, make) -> None:
    """The prior's part once, the likelihood's of every image, with the noise of all alike."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Tanh(), nn.Linear(4, 3))
    job = job_of(images, network)
    batch = torch.arange(5)
    x, y = to_float(images.images[batch]), images.require_labels()[batch]
    whole = learner_of(job, make)
    elbo = whole.step(x, y, 0.01)
    expected = [gradient.clone() for gradient in whole.gradients()]
    sums = [torch.zeros_like(gradient) for gradient in expected]
    kl, log_likelihood = 0.0, 0.0
    for seat in seats(size):
        own, weight = Parts(seat).own(batch)
        part = learner_of(job, make)  # the same noise, since the seed is the same
        found = part.step(to_float(images.images[own]), images.require_labels()[own], 0.01 * weight)
        kl += weight * float(found.kl)
        log_likelihood += weight * float(found.log_likelihood)
        for total, gradient in zip(sums, part.gradients(), strict=True):
            total.add_(gradient)
    for total, gradient in zip(sums, expected, strict=True):
        torch.testing.assert_close(total, gradient, rtol=1e-4, atol=1e-6)
    assert kl == pytest.approx(float(elbo.kl), rel=1e-5)
    assert log_likelihood == pytest.approx(float(elbo.log_likelihood), rel=1e-4)
