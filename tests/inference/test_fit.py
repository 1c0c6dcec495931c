"""The fit: repeatable, without traces, and safe when it goes wrong."""

from contextlib import contextmanager
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from nescio.data import Augmentation, ImageSet
from nescio.errors import DivergenceError, OutOfMemoryError
from nescio.inference import ARTICLE, DEFAULT, Job, fit_guide
from nescio.inference.run import CHECK_EVERY

RECIPE = replace(
    DEFAULT,
    epochs=3,
    minimum_steps=0,
    batch_size=8,
    learning_rate=0.01,
    random="all",
    augment="none",
)


def images(count: int = 32) -> ImageSet:
    labels = torch.arange(count) % 2
    pixels = (labels * 200).to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    return ImageSet("s", pixels, labels, ("dark", "light"))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


class Steps:
    """A reporter that counts steps, and can raise at one of them."""

    def __init__(self, fail_at: int = -1) -> None:
        self.count, self.fail_at = 0, fail_at
        self.statuses: list[str] = []

    @contextmanager
    def task(self, *_: object):
        yield self

    def advance(self, amount: int = 1, status: str = "") -> None:
        self.count += amount
        if status:
            self.statuses.append(status)
        if self.count == self.fail_at and amount:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        pass


def test_same_seed_same_fit_and_no_traces() -> None:
    own = network()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = fit_guide(Job(own, images(), RECIPE, seed=1))
    assert torch.equal(torch.rand(1), expected)
    again = fit_guide(Job(own, images(), RECIPE, seed=1))
    other = fit_guide(Job(own, images(), RECIPE, seed=2))
    for name, value in first.guide.loc.items():
        assert torch.equal(value, again.guide.loc[name])
        assert torch.equal(first.guide.raw_scale[name], again.guide.raw_scale[name])
    assert not torch.equal(first.guide.loc["1.weight"], other.guide.loc["1.weight"])
    for name, value in own.state_dict().items():
        assert torch.equal(value, before[name])
    assert list(pyro.get_param_store().keys()) == []


def test_history_adds_up_and_improves() -> None:
    recipe = replace(RECIPE, epochs=40, learning_rate=0.02)
    steps = Steps()
    fitted = fit_guide(Job(network(), images(), recipe, reporter=steps))
    assert steps.count == 40 * 4
    assert "pass 40/40" in steps.statuses[-1]
    assert [epoch.epoch for epoch in fitted.history] == list(range(1, 41))
    for epoch in fitted.history:
        assert epoch.elbo == pytest.approx(epoch.log_likelihood - epoch.kl, abs=1e-5)
        assert epoch.loss == -epoch.elbo
    assert fitted.history[-1].elbo > fitted.history[0].elbo
    assert fitted.history[-1].log_likelihood > fitted.history[0].log_likelihood


def test_figures_are_per_image() -> None:
    # With a learning rate of almost 0 the KL stays at its start, which has a closed form.
    start = {"learning_rate": 1e-12, "schedule": "constant", "epochs": 1}
    fitted = fit_guide(Job(network(), images(), replace(RECIPE, **start)))
    kl = sum(
        float((torch.log(1 / torch.tensor(0.02)) + (0.02**2 + p**2) / 2 - 0.5).sum())
        for p in (q.detach() for q in network().parameters())
    )
    assert fitted.history[0].kl == pytest.approx(kl / 32, rel=1e-4)
    # The article's loss counts the KL at each of the four batches of eight.
    unscaled = replace(RECIPE, **start, scale_likelihood=False)
    article = fit_guide(Job(network(), images(), unscaled))
    assert article.history[0].kl == pytest.approx(4 * kl / 32, rel=1e-4)
    assert article.history[0].log_likelihood == pytest.approx(
        fitted.history[0].log_likelihood, rel=0.2
    )


def test_the_articles_start_is_standard_normal() -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(4, 5000), nn.ReLU(), nn.Linear(5000, 2))
    recipe = replace(ARTICLE, epochs=1, learning_rate=1e-12)
    guide = fit_guide(Job(wide, images(8), recipe)).guide
    for group in (guide.loc, guide.raw_scale):
        values = torch.cat([value.detach().flatten() for value in group.values()])
        assert float(values.mean()) == pytest.approx(0.0, abs=0.03)
        assert float(values.std()) == pytest.approx(1.0, abs=0.03)


class NanAfter:
    """A likelihood that is a number for so many steps only."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, output: Tensor) -> dist.Distribution:
        self.left -= 1
        broken = output if self.left >= 0 else output * torch.nan
        return dist.Categorical(logits=broken, validate_args=False)


def test_divergence_keeps_the_last_good_state() -> None:
    good = fit_guide(Job(network(), images(), RECIPE, likelihood=NanAfter(10**6)))
    # 4 steps and a look a pass.
    fitted = fit_guide(Job(network(), images(), RECIPE, likelihood=NanAfter(12)))
    assert fitted.stopped == "diverged"
    assert len(fitted.history) == 2
    assert fitted.history[-1].elbo == good.history[1].elbo
    assert all(bool(torch.isfinite(value).all()) for value in fitted.guide.loc.values())


def test_divergence_in_the_first_pass() -> None:
    with pytest.raises(DivergenceError, match=r"lower --learning-rate \(it was 0\.01\)"):
        fit_guide(Job(network(), images(), RECIPE, likelihood=NanAfter(1)))


def test_divergence_is_seen_within_a_pass() -> None:
    many = images(8 * (CHECK_EVERY + 50))
    steps = Steps()
    with pytest.raises(DivergenceError):
        fit_guide(Job(network(), many, RECIPE, likelihood=NanAfter(1), reporter=steps))
    assert steps.count == CHECK_EVERY


def test_an_interrupt_offers_what_was_fitted() -> None:
    whole = fit_guide(Job(network(), images(), RECIPE))
    fitted = fit_guide(Job(network(), images(), RECIPE, reporter=Steps(fail_at=6)))
    assert fitted.stopped == "interrupted"
    assert len(fitted.history) == 1
    assert fitted.history[0].elbo == whole.history[0].elbo
    with pytest.raises(KeyboardInterrupt):
        fit_guide(Job(network(), images(), RECIPE, reporter=Steps(fail_at=2)))


def test_two_models_do_not_touch_each_other() -> None:
    first = fit_guide(Job(network(), images(), RECIPE, seed=1))
    kept = {name: value.clone() for name, value in first.guide.loc.items()}
    fit_guide(Job(network(), images(), RECIPE, seed=2))
    for name, value in first.guide.loc.items():
        assert torch.equal(value, kept[name])


def test_the_start_and_the_first_noise_are_different_draws() -> None:
    # Were they one draw, the first sampled weights would be loc * (1 + scale).
    seen: list[Tensor] = []

    class Watching(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.weight.detach().clone())
            return super().forward(x)

    net = nn.Sequential(nn.Flatten(), Watching(4, 500), nn.ReLU(), nn.Linear(500, 2))
    recipe = replace(ARTICLE, epochs=1, batch_size=32, learning_rate=1e-12)
    guide = fit_guide(Job(net, images(), recipe)).guide
    loc, scale = guide.loc["1.weight"].detach(), guide.scale("1.weight").detach()
    noise = (seen[3] - loc) / scale  # before it, the checks that the network fits and can be lifted
    both = torch.stack([noise.flatten(), loc.flatten()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.1
    assert float(noise.std()) == pytest.approx(1.0, abs=0.1)


def test_a_lack_of_memory_says_what_to_lower() -> None:
    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 2:  # the few images of the checks still fit
                torch.empty(2**55)
            return self.layer(x.flatten(1))

    with pytest.raises(OutOfMemoryError, match="while training; lower --batch-size"):
        fit_guide(Job(Greedy(), images(), RECIPE))


def test_augmented_images_are_what_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, epochs=2, augment="shift:1,flip")
    plain = fit_guide(Job(network(), images(), replace(recipe, augment="none"), seed=1))
    first = fit_guide(Job(network(), images(), recipe, seed=1))
    again = fit_guide(Job(network(), images(), recipe, seed=1))
    name = "1.weight"
    assert torch.equal(first.guide.loc[name], again.guide.loc[name])
    seen: list[Tensor] = []

    def keep(_: object, x: Tensor, __: object) -> Tensor:
        seen.append(x)
        return 1 - x

    monkeypatch.setattr(Augmentation, "__call__", keep)
    inverted = fit_guide(Job(network(), images(), recipe, seed=1))
    assert sum(map(len, seen)) == 2 * 32
    assert not torch.equal(inverted.guide.loc[name], plain.guide.loc[name])
