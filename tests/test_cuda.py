"""On a GPU: the same networks, the same answers, and no step that waits for the device.

Skipped where there is none.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests_support import QUICK, stripes
from torch import Tensor

import nescio
from nescio.cli import main
from nescio.data import Dataset
from nescio.inference import DEFAULT
from nescio.inference import fit as fitting

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
VARIED = "shift:1,rotate:10,zoom:0.1,shear:0.1,bend:0.4,wild:0.2,hide:0.2,flip"


@pytest.fixture(scope="module")
def on_gpu(data: Dataset) -> nescio.Classifier:
    return nescio.fit(
        "mlp", data, recipe=QUICK, max_refusal=0.05, samples=20, device="cuda", precision="float32"
    )


def moved(classifier: nescio.Classifier, device: torch.device) -> nescio.Classifier:
    """The same on another device; unlike ``to``, the given one stays whole."""
    return copy.deepcopy(classifier).to(device)


def test_a_seed_draws_the_same_networks_on_both(
    classifier: nescio.Classifier, data: Dataset
) -> None:
    exact = moved(replace(classifier, precision="float32"), CPU)
    assert data.test is not None
    (here,) = exact.stream_logits(data.test, samples=8)
    (there,) = moved(exact, CUDA).stream_logits(data.test, samples=8)
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), here, atol=1e-3, rtol=1e-4)
    assert float((here[0] - here[1]).abs().max()) > 1.0  # the networks do differ


def test_a_fit_finds_about_the_same_posterior(
    classifier: nescio.Classifier, on_gpu: nescio.Classifier
) -> None:
    assert on_gpu.device.type == "cuda"
    ours, theirs = classifier.record.history[-1], on_gpu.record.history[-1]
    # The weight noise of a fit is drawn on its device, so the two differ as two seeds do: six of
    # them gave ELBOs with a standard deviation of 1.1 about -10.
    assert theirs.elbo == pytest.approx(ours.elbo, abs=3 * 1.1 * 2**0.5)
    assert theirs.accuracy is not None
    assert theirs.accuracy > 0.95


def test_the_same_seed_fits_the_same_twice(data: Dataset, on_gpu: nescio.Classifier) -> None:
    again = nescio.fit(
        "mlp", data, recipe=QUICK, max_refusal=0.05, samples=20, device="cuda", precision="float32"
    )
    for name, loc in on_gpu.guide.loc.items():
        torch.testing.assert_close(again.guide.loc[name], loc, atol=1e-4, rtol=1e-3)


def test_a_model_from_the_gpu_answers_alike_on_the_cpu(
    on_gpu: nescio.Classifier, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "gpu.nescio"
    on_gpu.save(path)
    assert data.test is not None
    there = on_gpu.decide(data.test)
    read = nescio.load_model(path, device="cpu", precision="float32")
    here = read.decide(data.test)
    assert read.device == CPU
    same = (here.accepted == there.accepted) & (here.forced == there.forced)
    assert float(same.float().mean()) > 0.99
    torch.testing.assert_close(here.probability, there.probability, atol=1e-3, rtol=1e-2)
    adaptive = on_gpu.decide(data.test, adaptive=True)
    assert float((adaptive.accepted == there.accepted).float().mean()) > 0.98


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("random", ["head", "all"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_step_waits_for_the_device(
    random: str, precision: str, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, steps = fitting._Run._step, 0

    def watched(self: fitting._Run, batch: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 1:  # the first makes ready: kernels, the optimiser's state
            return step(self, batch)
        with waiting_is_an_error():
            return step(self, batch)

    monkeypatch.setattr(fitting._Run, "_step", watched)
    recipe = replace(DEFAULT, epochs=2, minimum_steps=0, random=random, augment=VARIED)
    nescio.fit(
        "cnn", data, recipe=recipe, max_refusal=0.2, samples=5, device="cuda", precision=precision
    )
    assert steps >= 8


def test_the_memory_of_a_prediction_does_not_grow_with_the_images(
    on_gpu: nescio.Classifier,
) -> None:
    def peak(count: int) -> int:
        images = stripes(count, 5)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        for _ in on_gpu.stream_decisions(images, rule=on_gpu.rule, samples=100):
            pass
        return torch.cuda.max_memory_allocated() - before

    assert peak(60_000) < 1.1 * peak(20_000) + 2**20


def test_the_command_line_on_the_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.nescio"
    options = ["--device", "cuda", "--samples", "10", "--quiet"]
    status = main(["train", "digits", "--out", str(model), "--epochs", "2", *options])
    assert status == 0
    assert main(["evaluate", str(model), "digits", "--ood", "noise:50", *options]) == 0
    out, err = capsys.readouterr()
    assert "forced" in out
    assert err == ""
