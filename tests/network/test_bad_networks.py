"""Networks that need something else: told in one line with the mend, or brought to it."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests_support import QUICK, small_network, stripes
from torch import Tensor, nn

import nescio
from nescio.data import ImageSet
from nescio.errors import ArchitectureError
from nescio.inference import Job, fit_frozen, fit_guide, random_parameters
from nescio.network import check_fit

ONCE = replace(QUICK, epochs=1)
FREEZE = replace(ONCE, random="head", freeze=True)


class For(nn.Module):
    """Takes images of one shape alone."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape
        self.fc = nn.Linear(torch.Size(shape).numel(), 3)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == self.shape, "wrong size"
        return self.fc(x.flatten(1))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (For(1, 32, 32), "wrong size; it runs on images of 32x32, so bring them to that with "
                         "--image-size 32"),
        (For(3, 64, 64), "it runs on colour images of 64x64, so bring them to that with "
                         "--image-size 64"),
        (For(3, 6, 6), "it runs on colour images of 6x6, so bring them to that"),
        (For(1, 77, 77), "wrong size"),
        (For(5, 6, 6), "wrong size"),
    ],
)  # fmt: skip
def test_a_network_that_needs_other_images(network: nn.Module, words: str) -> None:
    with pytest.raises(ArchitectureError, match=r"fails on images of shape \(2, 1, 6, 6\)") as told:
        nescio.fit(network, stripes(90, 0), recipe=ONCE)
    assert str(told.value).endswith(words)


class Gives(nn.Module):
    def __init__(self, form: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.fc, self.form = nn.Linear(36, 3), form

    def forward(self, x: Tensor) -> object:
        return self.form(self.fc(x.flatten(1)))


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda logits: {"logits": logits}, "must give one tensor of logits, got dict; wrap it"),
        (lambda logits: (logits, None), "got tuple; wrap it"),
        (lambda logits: logits.argmax(-1), "make its last layer 3 wide"),
        (lambda logits: logits + 1j, "must give real numbers, got torch.complex64"),
        (lambda logits: logits.argsort(-1), "must give real numbers, got torch.int64"),
    ],
)
@pytest.mark.parametrize("fit", [fit_guide, fit_frozen])
def test_outputs_that_are_no_logits(
    fit: Callable[..., object], form: Callable[[Tensor], object], words: str
) -> None:
    with pytest.raises(ArchitectureError) as told:
        fit(Job(Gives(form), stripes(30, 0), FREEZE if fit is fit_frozen else ONCE))
    assert words in str(told.value)


class Complex(nn.Module):
    """A complex layer before a real one."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Parameter(torch.randn(36, 8, dtype=torch.complex64))
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((x.flatten(1).to(torch.complex64) @ self.turn).abs())


@pytest.mark.parametrize("choice", ["all", "head", "turn"])
def test_complex_weights_are_told(choice: str) -> None:
    with pytest.raises(ArchitectureError, match=r"parameter 'turn' is complex, and .* freeze it"):
        fit_guide(Job(Complex(), stripes(30, 0), replace(ONCE, random=choice)))


def test_complex_weights_may_be_frozen(tmp_path: object) -> None:
    network = Complex()
    network.turn.requires_grad_(False)
    fitted = fit_guide(Job(network, stripes(30, 0), replace(ONCE, random="all")))
    assert list(fitted.guide.loc) == ["fc.weight", "fc.bias"]
    frozen = fit_frozen(Job(Complex(), stripes(30, 0), FREEZE))
    assert frozen.network.turn.dtype == torch.complex64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_float32(dtype: torch.dtype, tmp_path: object) -> None:
    network = small_network().to(dtype)
    start = copy.deepcopy(network)
    fitted = nescio.fit(network, stripes(90, 0), recipe=ONCE, samples=2, max_refusal=0.5)
    assert {p.dtype for p in network.parameters()} == {dtype}
    assert {p.dtype for p in fitted.network.parameters()} == {torch.float32}
    fitted.save(f"{tmp_path}/m.nescio")
    loaded = nescio.load_model(f"{tmp_path}/m.nescio", start)
    images = stripes(9, 1)
    assert torch.equal(
        loaded.predict_samples(images, samples=2), fitted.predict_samples(images, samples=2)
    )


def test_tied_weights_in_a_frozen_trunk_stay_tied(tmp_path: object) -> None:
    def tied() -> nn.Module:
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(36, 36), nn.ReLU(), nn.Linear(36, 36), nn.Linear(36, 3)
        )
        network[3].weight = network[1].weight
        return network

    fitted = nescio.fit(tied(), stripes(90, 0), recipe=FREEZE, samples=2, max_refusal=0.5)
    assert fitted.network[3].weight is fitted.network[1].weight
    fitted.save(f"{tmp_path}/m.nescio")
    loaded = nescio.load_model(f"{tmp_path}/m.nescio", tied())
    images = stripes(9, 1)
    assert torch.equal(
        loaded.predict_samples(images, samples=2), fitted.predict_samples(images, samples=2)
    )


def test_a_head_tied_to_the_trunk_cannot_be_cut_off() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.ReLU(), nn.Linear(36, 36))
    network[3].weight = network[1].weight
    train = stripes(72, 0)
    labels = torch.arange(72) % 36
    train = ImageSet("s", train.images, labels, tuple(map(str, range(36))))
    with pytest.raises(ArchitectureError, match="--freeze: the network cannot be cut"):
        fit_frozen(Job(network, train, replace(FREEZE, random="1.weight")))


def test_a_network_without_parameters() -> None:
    with pytest.raises(ArchitectureError, match="no trainable weight that could become random"):
        fit_frozen(
            Job(nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(3)), stripes(30, 0), FREEZE)
        )


def test_several_inputs_are_told_before_a_trunk_is_cut() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return x * mask

    with pytest.raises(ArchitectureError, match="'mask'; a network is given one batch"):
        fit_frozen(Job(Two(), stripes(30, 0), FREEZE))


class Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.free = nn.BatchNorm1d(64)
        self.fc = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.free(self.body(x)))


def test_frozen_normalisation_keeps_its_statistics() -> None:
    network = Norms()
    network.body.requires_grad_(False)
    fitted = fit_guide(Job(network, stripes(60, 0), ONCE, watch=stripes(30, 1)))
    assert torch.equal(fitted.network.body[1].running_mean, network.body[1].running_mean)
    assert int(fitted.network.body[1].num_batches_tracked) == 0
    assert int(fitted.network.free.num_batches_tracked) == 2


def test_own_weights_and_constants_in_python(tmp_path: object) -> None:
    network = small_network()
    path = f"{tmp_path}/w.pth"
    weights = {f"module.{n}": v + 0.01 for n, v in network.state_dict().items()}
    torch.save(weights, path)
    fitted = nescio.fit(
        network, stripes(90, 0), weights=path, normalise="0.3/0.2", recipe=FREEZE, samples=2,
        max_refusal=0.5,
    )  # fmt: skip
    assert torch.equal(fitted.network.network[1].weight, weights["module.1.weight"])
    assert not torch.equal(network[1].weight, weights["module.1.weight"])
    fitted.save(f"{tmp_path}/m.nescio")
    loaded = nescio.load_model(f"{tmp_path}/m.nescio", small_network())
    images = stripes(9, 1)
    found = loaded.predict_samples(images, samples=2)
    assert torch.equal(found, fitted.predict_samples(images, samples=2))
    # By hand: normalised pixels through the trunk, then the head at its means.
    x = (images.images.float() / 255 - 0.3) / 0.2
    hidden = (x.flatten(1) @ weights["module.1.weight"].T + weights["module.1.bias"]).relu()
    means = {name: mean.detach() for name, mean in fitted.guide.loc.items()}
    logits = hidden @ means["network.3.weight"].T + means["network.3.bias"]
    many = loaded.predict_samples(images, samples=200).mean(0)
    assert float((many - logits.softmax(-1)).abs().max()) < 0.05


def test_what_runs_is_left_as_it_was() -> None:
    network = small_network().train()
    with pytest.raises(ArchitectureError):
        check_fit(network, torch.zeros(2, 1, 5, 5), 3)
    assert network.training
    assert len(random_parameters(network)) == 4
