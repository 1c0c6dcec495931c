"""Draw the pictures of docs/idea.md; takes some minutes.

python docs/pictures/make_idea_pictures.py
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from pyro import distributions as dist
from pyro.infer import MCMC, NUTS
from scipy import integrate, stats
from torch import Tensor, nn
from torch.func import functional_call

import nescio
from nescio.classifier import familiar_set
from nescio.data import letters
from nescio.inference import BayesianNetwork, Categorical, MeanField, NormalPrior, estimate_elbo
from nescio.report import Reference, save_answer

HERE = Path(__file__).parent
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#007A5A", "#888888"


class Bernoulli:
    """Two classes from one output."""

    def __call__(self, output: Tensor) -> dist.Distribution:
        return dist.Bernoulli(logits=output[:, 0], validate_args=False)


def fit(
    model: BayesianNetwork, guide: MeanField, *batch: Tensor, steps: int
) -> Iterator[tuple[float, float]]:
    """Gradient steps on the ELBO; gives mean and scale of the first weight before each."""
    optimiser = torch.optim.Adam(guide.parameters(), lr=0.03)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, steps)
    name = next(iter(guide.loc))
    for _ in range(steps):
        yield (
            float(guide.loc[name].detach().ravel()[0]),
            float(guide.scale(name).detach().ravel()[0]),
        )
        elbo = estimate_elbo(model.model, guide, *batch).value
        optimiser.zero_grad()
        (-elbo).backward()
        optimiser.step()
        decay.step()


def finish(figure: Figure, name: str) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / name, dpi=110)


def one_weight() -> None:
    """Bayes' theorem for a network with one weight, where every integral can be done."""
    x = torch.tensor([[-2.0], [-1.0], [-0.5], [0.3], [0.8], [1.0], [2.5]])
    y = torch.tensor([0, 0, 1, 0, 1, 1, 1])
    sign = (2 * y - 1).numpy()

    def likelihood(w: np.ndarray) -> np.ndarray:
        return np.prod(1 / (1 + np.exp(-np.outer(w, sign * x[:, 0].numpy()))), axis=1)

    prior = stats.norm(0, 2)
    evidence, _ = integrate.quad(lambda w: prior.pdf(w) * likelihood(np.array([w]))[0], -20, 20)
    model = BayesianNetwork(nn.Linear(1, 1, bias=False), NormalPrior(2.0), Bernoulli(), len(x))
    guide = MeanField.around({"weight": torch.zeros(1, 1)}, 0.5)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)

    def elbo(m: float, s: float) -> float:
        expected = weights @ np.log(likelihood(m + s * nodes)) / weights.sum()
        return float(expected) - (math.log(2 / s) + (s**2 + m**2) / 8 - 0.5)

    trace = [elbo(m, s) for m, s in fit(model, guide, x, y.float(), steps=2000)]

    grid = np.linspace(-4, 7, 400)
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    posterior = prior.pdf(grid) * likelihood(grid) / evidence
    left.plot(grid, prior.pdf(grid), color=GREY)
    left.plot(grid, posterior, color=BLUE, lw=2)
    scale = float(guide.scale("weight").detach())
    mean = float(guide.loc["weight"].detach())
    left.plot(grid, stats.norm(mean, scale).pdf(grid), color=ORANGE, ls="--", lw=2)
    top = posterior.max()
    left.text(-3.9, 0.14 * top + 0.09, "prior", color=GREY)
    left.text(mean + 1.0, 0.83 * top, "posterior (exact)", color=BLUE)
    left.text(mean + 1.35, 0.62 * top, "guide (fitted)", color=ORANGE)
    left.set_xlabel("the network's one weight")
    left.set_yticks([])
    right.plot(trace, color=ORANGE, lw=2)
    right.axhline(math.log(evidence), color=BLUE)
    right.text(2000, math.log(evidence) + 0.05, "log evidence", color=BLUE, ha="right")
    right.text(2000, min(trace[-500:]) - 0.05, "ELBO", color=ORANGE, ha="right", va="top")
    right.set_ylim(trace[0] - 0.1, math.log(evidence) + 0.35)
    right.set_xlabel("steps")
    right.set_ylabel("nats")
    finish(figure, "one-weight.png")


def gold_standard() -> None:
    """A tiny network: predictions by HMC (NUTS) and by the mean-field guide."""
    torch.manual_seed(1)
    x = torch.cat([torch.randn(20, 1) * 0.3 - 1, torch.randn(20, 1) * 0.3 + 1])
    y = (torch.arange(40) >= 20).long()
    network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2))
    model = BayesianNetwork(network, NormalPrior(1.0), Categorical(), len(x))
    mcmc = MCMC(NUTS(model.model), num_samples=600, warmup_steps=300, disable_progbar=True)
    mcmc.run(x, y)
    samples = mcmc.get_samples()
    gold = [{name: value[i] for name, value in samples.items()} for i in range(600)]
    guide = MeanField.around({n: p.detach() for n, p in network.named_parameters()}, 0.1)
    deque(fit(model, guide, x, y, steps=4000), maxlen=0)
    generator = torch.Generator().manual_seed(0)
    ours = [guide.draw(generator) for _ in range(600)]

    grid = torch.linspace(-4, 4, 161)[:, None]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, draws, colour, title in (
        (axes[0], gold, BLUE, "NUTS: the gold standard"),
        (axes[1], ours, ORANGE, "mean field: the guide"),
    ):
        with torch.no_grad():
            p = torch.stack([functional_call(network, w, (grid,)).softmax(-1) for w in draws])
        low, high = p[..., 1].quantile(0.05, 0), p[..., 1].quantile(0.95, 0)
        axis.fill_between(grid[:, 0], low, high, color=colour, alpha=0.2, lw=0)
        axis.plot(grid[:, 0], p[..., 1].mean(0), color=colour, lw=2)
        axis.plot(x[:, 0], y, "|", color="#222222", ms=9, alpha=0.6)
        axis.set_title(title, color=colour, fontsize=11)
        axis.set_xlabel("the one input")
        axis.set_yticks([0, 0.5, 1])
    axes[0].set_ylabel("probability of the second class")
    axes[0].text(0.5, 0.05, "band: 90 % of\nthe sampled networks", color=BLUE, fontsize=9)
    finish(figure, "gold-standard.png")


def two_doubts() -> None:
    """A clear digit, a doubtful one and a letter, as a classifier of digits sees them."""
    digits = nescio.load("digits")
    recipe = replace(nescio.DEFAULT, minimum_steps=1000)
    classifier = nescio.fit("mlp", digits, recipe=recipe)
    test = familiar_set(classifier, digits)
    strange = letters(60, classifier.preprocessing)
    decisions, others = classifier.decide(test), classifier.decide(strange)
    entropy, disagreement = (
        decisions.scores[n] for n in ("expected_entropy", "mutual_information")
    )
    doubtful = decisions.verdicts.ambiguous
    chosen = (
        ("clear", test, int((entropy + disagreement).argmin())),
        ("ambiguous", test, int((doubtful * (entropy - disagreement + 10)).argmax())),
        ("unfamiliar", strange, int(others.scores["mutual_information"].argmax())),
    )
    for name, images, index in chosen:
        one = images.subset(torch.tensor([index]))
        logits = next(classifier.stream_logits(one))
        evidence = classifier.evidence_reader()(classifier.prepare(one))
        decision = classifier.decide_from_logits(logits, classifier.rule, evidence)[0]
        assert images.labels is not None
        save_answer(
            HERE / f"{name}.png",
            logits[:, 0].log_softmax(-1),
            decision,
            classifier.classes,
            image=one.images[0],
            actual=images.classes[int(images.labels[index])],
            reference=Reference.of(classifier, classifier.rule),
        )


if __name__ == "__main__":
    torch.manual_seed(0)
    one_weight()
    gold_standard()
    two_doubts()
