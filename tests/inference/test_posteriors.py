"""The families of posterior: closed forms, moments of their draws, and what they refuse to hold."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nescio.errors import UsageError
from nescio.inference import (
    DEFAULT,
    FAMILIES,
    SCALE_MAPS,
    Dropout,
    FullNormal,
    KroneckerNormal,
    LowRank,
    MeanField,
    Misfit,
    Mixture,
    Posterior,
    parse_posterior,
)
from nescio.inference.dropout import drop_inputs, masked_layers
from nescio.inference.prior import NormalPrior, cross_entropy
from nescio.inference.swag import normal_of

COUNT = 3_000

SHAPES = {"w": (2, 3), "b": (2,)}


def noise(seed: int, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def low_rank() -> LowRank:
    return LowRank(noise(0, **SHAPES), noise(1, **SHAPES), noise(2, w=(4, 2, 3), b=(4, 2)))


def mixture() -> Mixture:
    return Mixture(noise(0, w=(3, 2, 3), b=(3, 2)))


def fields() -> Mixture:
    return Mixture(noise(0, w=(3, 2, 3), b=(3, 2)), noise(1, w=(3, 2, 3)))


def full() -> FullNormal:
    return FullNormal(noise(0, **SHAPES), noise(1, root=(8, 8))["root"].tril())


def kronecker() -> KroneckerNormal:
    left = {n: torch.linalg.qr(v)[0] for n, v in noise(1, w=(2, 2), b=(2, 2)).items()}
    right = {"w": torch.linalg.qr(noise(2, w=(3, 3))["w"])[0], "b": torch.ones(1, 1)}
    scale = {n: v.abs() + 0.1 for n, v in noise(3, w=(2, 3), b=(2, 1)).items()}
    return KroneckerNormal(noise(0, **SHAPES), left, right, scale)


def dropout() -> Dropout:
    return Dropout(noise(0, **SHAPES), {"w": 1}, 0.25)


def mean_field() -> MeanField:
    return MeanField(noise(0, **SHAPES), noise(1, **SHAPES))


MADE: tuple[Callable[[], Posterior], ...] = (
    mean_field,
    low_rank,
    mixture,
    fields,
    full,
    kronecker,
    dropout,
)


def flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weights[name].detach().flatten() for name in SHAPES])


def drawn(posterior: Posterior, count: int) -> Tensor:
    draw, generator = posterior.sampler(), torch.Generator().manual_seed(0)
    return torch.stack([flat(draw(generator, s)) for s in range(count)])


def covariance(posterior: Posterior) -> Tensor:
    """What the stored numbers say that draws vary by, ``(8, 8)``."""
    if isinstance(posterior, LowRank):
        rows = torch.cat([posterior.factor[n].detach().flatten(1) for n in SHAPES], 1)
        scales = torch.cat([posterior.scale(n).detach().flatten() for n in SHAPES])
        return rows.T @ rows + scales.square().diag()
    if isinstance(posterior, FullNormal):
        return posterior.root @ posterior.root.T
    assert isinstance(posterior, KroneckerNormal)
    blocks = []
    for name in SHAPES:
        turn = torch.kron(posterior.left[name], posterior.right[name])
        blocks.append(turn @ posterior.scale[name].flatten().square().diag() @ turn.T)
    return torch.block_diag(*blocks)


@pytest.mark.parametrize("make", [low_rank, full, kronecker])
def test_draws_have_the_stored_mean_and_covariance(make: Callable[[], Posterior]) -> None:
    posterior = make()
    draws, wanted = drawn(posterior, COUNT), covariance(posterior)
    size = float(wanted.diagonal().max())
    # Five standard errors; that of a variance is sqrt(2 / COUNT) of it.
    torch.testing.assert_close(
        draws.mean(0), flat(dict(posterior.center())), rtol=0, atol=5 * math.sqrt(size / COUNT)
    )
    torch.testing.assert_close(draws.T.cov(), wanted, rtol=0, atol=5 * size * math.sqrt(2 / COUNT))


def test_the_entropy_and_kl_of_a_low_rank_normal_are_pytorchs() -> None:
    posterior = low_rank()
    rows = torch.cat([posterior.factor[n].detach().flatten(1) for n in SHAPES], 1)
    scales = torch.cat([posterior.scale(n).detach().flatten() for n in SHAPES])
    mean = flat(dict(posterior.center()))
    theirs = torch.distributions.LowRankMultivariateNormal(mean, rows.T, scales.square())
    torch.testing.assert_close(posterior.entropy().detach(), theirs.entropy())
    prior = torch.distributions.MultivariateNormal(torch.zeros(8), 4 * torch.eye(8))
    kl = -posterior.entropy()
    for name, loc in posterior.loc.items():
        own = NormalPrior(2.0)(name, loc)
        kl = kl + cross_entropy(own, loc, posterior.variance(name), loc)
    torch.testing.assert_close(kl.detach(), torch.distributions.kl_divergence(theirs, prior))


def test_a_cross_entropy_without_closed_form_is_the_samples() -> None:
    prior = torch.distributions.Independent(torch.distributions.Laplace(torch.zeros(3), 1.0), 1)
    sample = torch.tensor([1.0, -2.0, 0.5])
    found = cross_entropy(prior, torch.zeros(3), torch.ones(3), sample)
    assert float(found) == pytest.approx(3.5 + 3 * math.log(2))


def test_snapshots_become_half_their_variances_and_half_their_covariance() -> None:
    """Maddox et al. 2019, equation (1)."""
    snapshots = [noise(seed, **SHAPES) for seed in range(5)]
    posterior = normal_of(snapshots)
    stack = torch.stack([flat(each) for each in snapshots])
    wanted = 0.5 * (stack.var(0, correction=0).diag() + stack.T.cov())
    torch.testing.assert_close(covariance(posterior), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(flat(dict(posterior.center())), stack.mean(0))


def test_members_are_taken_in_turn() -> None:
    found = drawn(mixture(), 7)
    assert mixture().distinct == 3
    assert fields().distinct is None
    assert torch.equal(found[0], found[3])
    assert torch.equal(found[1], found[4])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[0], flat(dict(mixture().center())))
    field = drawn(fields(), 6)
    assert not torch.equal(field[0], field[3])
    assert torch.equal(field[0, 6:], field[3, 6:]), "what has no scale is the member's own"


def test_dropped_inputs_are_columns_of_the_weights() -> None:
    """What Gal & Ghahramani's equality says, for a linear and a grouped convolution layer."""
    linear, convolution = nn.Linear(12, 4), nn.Conv2d(8, 6, 3, groups=2, bias=False)
    for layer, x in ((linear, torch.rand(5, 12)), (convolution, torch.rand(2, 8, 5, 5))):
        weight = layer.weight.detach()
        groups = int(getattr(layer, "groups", 1))
        posterior = Dropout({"weight": weight}, {"weight": groups}, 0.4)
        drawn = posterior.sampler()(torch.Generator().manual_seed(3))["weight"]
        kept = torch.rand(groups, 1, weight.shape[1], generator=torch.Generator().manual_seed(3))
        mask = ((kept >= 0.4) / 0.6).flatten().view(1, -1, *[1] * (x.ndim - 2))
        with torch.no_grad():
            expected = layer(x * mask)
            found = torch.func.functional_call(layer, {"weight": drawn}, (x,))
        torch.testing.assert_close(found, expected)


def test_dropped_weights_keep_their_mean() -> None:
    draws = drawn(dropout(), 2000)
    center = flat(dict(dropout().center()))
    torch.testing.assert_close(draws.mean(0), center, rtol=0, atol=0.2)
    assert float((draws[:, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.05)
    assert torch.equal(draws[0, 6:], center[6:]), "biases are not dropped"


def test_images_meet_other_masks_in_training_alike_at_all_positions() -> None:
    layer = nn.Conv2d(64, 2, 1)
    dropped = drop_inputs(layer, torch.ones(3, 64, 4, 4), 0.5, torch.Generator().manual_seed(0))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped[:, :, :1, :1].expand_as(dropped), dropped)
    assert not torch.equal(dropped[0], dropped[1])


def test_a_layer_of_few_inputs_is_left_whole() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Linear(9, 2))
    names = [name for name, _ in network.named_parameters()]
    assert list(masked_layers(network, names)) == ["1", "2"]
    assert list(masked_layers(network, ["2.weight"])) == ["2"]


@pytest.mark.parametrize("make", MADE)
def test_every_family_comes_back_from_its_tensors(make: Callable[[], Posterior]) -> None:
    posterior = make()
    tensors = {name: value.detach().clone() for name, value in posterior.tensors().items()}
    read = FAMILIES[posterior.family].from_tensors(
        dict(reversed(tensors.items())), SHAPES, SCALE_MAPS["softplus"]
    )
    assert list(read.names) == list(SHAPES), "the network's order counts, not the file's"
    assert read.describe() == posterior.describe()
    assert read.distinct == posterior.distinct
    moved = read.to(torch.device("cpu"))
    assert torch.equal(drawn(posterior, 5), drawn(moved, 5))


@pytest.mark.parametrize("make", MADE)
def test_tensors_that_do_not_fit_are_refused(make: Callable[[], Posterior]) -> None:
    posterior = make()
    family = FAMILIES[posterior.family]
    tensors = {name: value.detach() for name, value in posterior.tensors().items()}
    scale_map = SCALE_MAPS["softplus"]
    refused = 0
    for name, value in tensors.items():
        if name.startswith("groups/"):
            changed = torch.tensor(5)
        elif value.ndim:
            changed = value.new_zeros(*value.shape, 2)
        else:
            changed = torch.tensor(1.0)
        with pytest.raises(Misfit):
            family.from_tensors({**tensors, name: changed}, SHAPES, scale_map)
        refused += 1
    assert refused == len(tensors) > 1
    with pytest.raises(Misfit, match="'other'"):
        family.from_tensors({**tensors, "loc/other": torch.zeros(2)}, SHAPES, scale_map)
    with pytest.raises(Misfit):
        family.from_tensors({}, SHAPES, scale_map)
    with pytest.raises(Misfit):
        family.from_tensors(tensors, {"w": (2, 3)}, scale_map)


@pytest.mark.parametrize("value", [torch.tensor(2.5), torch.tensor(0), torch.tensor([1]), 3])
def test_groups_that_are_no_whole_part_are_refused(value: Tensor | int) -> None:
    tensors = {**dropout().tensors(), "groups/w": torch.as_tensor(value)}
    with pytest.raises(Misfit, match="groups/w"):
        Dropout.from_tensors(tensors, SHAPES, SCALE_MAPS["softplus"])


@pytest.mark.parametrize(
    ("text", "name", "number", "word"),
    [
        ("mean-field", "mean-field", 0, ""),
        ("low-rank", "low-rank", 8, ""),
        ("low-rank:3", "low-rank", 3, ""),
        ("ensemble", "ensemble", 5, ""),
        ("dropout:0.5", "dropout", 0.5, ""),
        ("laplace", "laplace", 0, "full"),
        ("laplace:kron", "laplace", 0, "kron"),
        ("hmc:1000", "hmc", 1000, ""),
    ],
)
def test_names_and_options(text: str, name: str, number: float, word: str) -> None:
    choice = parse_posterior(text)
    assert (choice.name, choice.number, choice.word) == (name, number, word)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("meanfield", "unknown posterior 'meanfield': expected one of mean-field, low-rank"),
        ("", "unknown posterior"),
        ("mean-field:2", "mean-field takes no option"),
        ("ivon:", "ivon takes no option"),
        ("ensemble:1", "the number of members must be a whole number from 2 to 1,000, got '1'"),
        ("ensemble:2.5", "whole number"),
        ("low-rank:0", "the rank must be a whole number from 1 to 256"),
        ("dropout:1.5", "must be above 0 and below 1, got '1.5'"),
        ("dropout:0", "above 0"),
        ("dropout:nan", "above 0"),
        ("dropout:", "above 0"),
        ("swag:inf", "whole number"),
        ("laplace:diag", "the covariance must be one of full, kron"),
        ("laplace:", "must be one of"),
        ("hmc:1", "the number of networks kept"),
    ],
)
def test_bad_names_and_options(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_posterior(text)
    with pytest.raises(UsageError, match=message):
        # Recipes are made before anything is trained.
        DEFAULT.__class__(**{**DEFAULT.__dict__, "posterior": text})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"posterior": "low-rank", "engine": "pyro"}, "--engine pyro fits mean fields alone"),
        ({"posterior": "swag", "estimator": "flipout"}, "--estimator flipout is for mean fields"),
        ({"posterior": "ivon", "scale_likelihood": False}, "not scaled is for mean fields alone"),
        ({"posterior": "ensemble", "random": "3.*"}, "--random must be all, or left out"),
    ],
)
def test_options_that_are_for_mean_fields_alone(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DEFAULT.__class__(**{**DEFAULT.__dict__, **changes})
