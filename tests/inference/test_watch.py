"""What is shown of images that are not trained on."""

from dataclasses import replace

import pytest
import torch
from tests_support import QUICK, QUICK_ARTICLE, small_network, stripes
from torch import Tensor, nn

import nescio
from nescio.data import Dataset
from nescio.inference import Job, fit_guide
from nescio.inference.watch import MOST_WATCHED, Watch


class Statuses:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def task(self, *_: object) -> "Statuses":
        return self

    def __enter__(self) -> "Statuses":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, amount: int = 1, status: str = "") -> None:
        self.told += [status] if status else []

    def note(self, message: str) -> None:
        self.told.append(message)


class FirstPixel(nn.Module):
    """Says class 0 where the first pixel is dark, in evaluation mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        first = x[:, 0, 0, 0] * self.weight
        return torch.stack([0.5 - first, first - 0.5], -1)


def test_accuracy_by_hand() -> None:
    images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    images[3:] = 255
    watch = Watch(images, torch.tensor([0, 0, 1, 1, 0]))
    network = FirstPixel().train()
    # The means count, not what the network holds: with its own weight of 0 all are class 0.
    assert watch.accuracy(network, {"weight": torch.ones(1)}, batch_size=2) == 3 / 5
    assert watch.accuracy(network, {"weight": torch.zeros(1)}, batch_size=9) == 3 / 5
    assert network.training
    assert watch.describe(3 / 5) == "60.0 % of 5 calibration images right"


def test_a_fixed_part_is_watched() -> None:
    many = stripes(2 * MOST_WATCHED + 1, 0)
    watch = Watch.of(many)
    assert len(watch.images) == len(watch.labels) == MOST_WATCHED
    assert torch.equal(watch.images, Watch.of(many).images)
    assert torch.equal(watch.images[-1], many.images[-1])
    assert "of 2,000 calibration" in watch.describe(0.5)
    few = stripes(7, 0)
    assert torch.equal(Watch.of(few).images, few.images)


def test_watching_changes_nothing() -> None:
    train, kept = stripes(90, 0), stripes(30, 1)
    recipe = replace(QUICK, epochs=3)
    reporter = Statuses()
    watched = fit_guide(Job(small_network(), train, recipe, watch=kept, reporter=reporter))
    alone = fit_guide(Job(small_network(), train, recipe))
    for name, value in alone.guide.loc.items():
        assert torch.equal(value, watched.guide.loc[name])
    assert [epoch.accuracy for epoch in alone.history] == [None] * 3
    last = watched.history[-1].accuracy
    assert last == Watch.of(kept).accuracy(watched.network, watched.guide.loc, 30)
    assert reporter.told[-1].endswith(f"; {100 * last:.1f} % of 30 calibration images right")


def test_only_recipes_that_keep_calibration_images_show_any() -> None:
    data = Dataset("stripes", stripes(90, 0), stripes(30, 1))
    shown, article = Statuses(), Statuses()
    nescio.fit("mlp", data, recipe=replace(QUICK, epochs=1), samples=2, reporter=shown)
    fitted = nescio.fit("mlp", data, recipe=QUICK_ARTICLE, samples=2, reporter=article)
    assert any("calibration images right" in told for told in shown.told)
    assert not any("calibration" in told for told in article.told)
    assert fitted.record.history[0].accuracy is None


def test_empty_sets_are_not_watched() -> None:
    nothing = stripes(3, 0).subset(torch.empty(0, dtype=torch.int64))
    fitted = fit_guide(
        Job(small_network(), stripes(30, 0), replace(QUICK, epochs=1), watch=nothing)
    )
    assert fitted.history[0].accuracy is None
    assert fitted.history[0].elbo == pytest.approx(-fitted.history[0].loss)
