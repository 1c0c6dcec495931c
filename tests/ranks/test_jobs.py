"""Jobs of several processes, as a person starts them: ``torchrun -m nescio train``."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import PATIENCE, run_job, torchrun
from tests_support import stripes

import nescio
from nescio.cli import main
from nescio.data import ImageSet

TRAIN = ("-m", "nescio", "train")
QUICK = ("--network", "mlp", "--augment", "none", "--epochs", "4", "--samples", "20")
UNWRAPPABLE = """
import torch
from torch import nn

class Lists(nn.Module):
    def __init__(self, pixels, classes):
        super().__init__()
        self.layer = nn.Linear(pixels, classes)
        self.copies = [self.layer.weight.detach().clone()]

    def forward(self, x):
        return x.flatten(1) @ self.copies[0].T

def lists(shape, classes):
    return Lists(shape[0] * shape[1] * shape[2], classes)
"""
"""A network whose weights are not its own: no draw of them would change what it says."""

DIFFERING = Path(__file__).with_name("differing.py")


def write(path: Path, images: ImageSet) -> Path:
    np.savez(path, images=images.images[:, 0].numpy(), labels=images.require_labels().numpy())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs")
    write(path / "stripes.npz", stripes(703, 0))
    write(path / "others.npz", stripes(703, 1))
    return path


@pytest.fixture(scope="module")
def trained(folder: Path) -> dict[int, nescio.Classifier]:
    """The same training by one, two and three processes."""
    found = {}
    for processes in (1, 2, 3):
        out = folder / f"by-{processes}.nescio"
        arguments = [folder / "stripes.npz", *QUICK, "--out", out]
        if processes == 1:
            assert main(["train", *map(str, arguments), "--quiet"]) == 0
        else:
            status, told, err = run_job([*TRAIN, *arguments], processes)
            assert status == 0, err
            # One process tells it for all, and Fabric nothing.
            assert told.startswith(f"{out}: mlp on stripes")
            assert told.count("\n") == 1
            assert "distributed" not in err.lower()
            assert err.count("fitting the familiarity model") == 1
        found[processes] = nescio.load_model(out)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_train_what_one_does(
    trained: dict[int, nescio.Classifier], processes: int
) -> None:
    one, several = trained[1], trained[processes]
    history, own = several.record.history, one.record.history
    assert len(history) == len(own)
    # The KL counts once: before the posterior has learnt anything it is the same number.
    assert history[0].kl == pytest.approx(own[0].kl, rel=0.02)
    assert history[-1].kl == pytest.approx(own[-1].kl, rel=0.02)
    assert history[-1].log_likelihood == pytest.approx(own[-1].log_likelihood, abs=0.1)
    for name, value in one.guide.tensors().items():
        other = several.guide.tensors()[name]
        if name.startswith("raw_scale"):
            assert float((value - other).abs().mean().detach()) < 0.02
    # Every image was seen, and the same ones were left out to calibrate.
    assert torch.equal(one.record.seen, several.record.seen)
    assert one.calibrated is not None
    assert several.calibrated is not None
    assert one.calibrated.calibrated_on.images == several.calibrated.calibrated_on.images


@pytest.mark.slow
def test_familiarity_and_calibration_are_those_of_one_process(
    folder: Path, trained: dict[int, nescio.Classifier]
) -> None:
    """Statistics of shares, put together, are statistics of all: to rounding, in any number."""
    script = Path(__file__).with_name("reducing.py")
    model, data = folder / "by-2.nescio", folder / "stripes.npz"
    status, _, err = run_job([script, model, data, folder], 3)
    assert status == 0, err
    found = [torch.load(folder / f"reduced-{rank}.pt", weights_only=True) for rank in range(4)]
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, value in found[0].items():
            torch.testing.assert_close(other[name], value, rtol=2e-3, atol=2e-4)
    for other in found[2:]:  # all processes of a job hold the same to the bit
        for name, value in found[1].items():
            assert torch.equal(other[name], value), name


def line_of(err: str) -> str:
    """The one error that a job tells; the traceback that follows is torchrun's own."""
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, err
    assert err.count("Traceback") <= 1, err
    assert "Traceback" not in err or "ChildFailedError" in err
    return lines[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--seed", "5"], "process 1 has other split than process 0"),
        (["--epochs", "5"], "process 1 has other epochs than process 0 (5, not 4)"),
        (["--out", "/proc/none/m.nescio"], None),
        (["--batch-size", "0"], "process 1 of 2: --batch-size must be at least 1, got 0"),
    ],
)
def test_processes_that_are_told_different_things(
    folder: Path, tmp_path: Path, more: list[str], expected: str | None
) -> None:
    arguments = ["train", folder / "stripes.npz", *QUICK, "--out", tmp_path / "m.nescio"]
    arguments = [*arguments, "--quiet"]
    if "--epochs" in more:
        arguments = [a for a in arguments if a not in ("--epochs", "4")]
        told = {"0": ["--epochs", "4"], "1": more}
    elif "--out" in more:
        arguments = [a for a in arguments if a not in ("--out", tmp_path / "m.nescio")]
        told = {"0": ["--out", str(tmp_path / "m.nescio")], "1": more}
    else:
        told = {"1": more}
    status, _, err = run_job([DIFFERING, json.dumps(told), *arguments])
    if expected is None:  # process 0 alone writes, so that others cannot does not matter
        assert status == 0, err
        assert (tmp_path / "m.nescio").exists()
        return
    assert status != 0
    assert expected in line_of(err)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_processes_that_see_different_data(folder: Path, tmp_path: Path) -> None:
    told = {"0": [str(folder / "stripes.npz")], "1": [str(folder / "others.npz")]}
    arguments = [*QUICK, "--out", tmp_path / "m.nescio", "--quiet"]
    status, _, err = run_job([DIFFERING, json.dumps(told), "train", *arguments])
    assert status != 0
    assert "process 1 has other data than process 0" in line_of(err)


@pytest.mark.slow
def test_one_process_that_has_no_data_ends_all_with_its_reason(
    folder: Path, tmp_path: Path
) -> None:
    told = {"0": [str(folder / "stripes.npz")], "1": [str(folder / "none.npz")]}
    arguments = [*QUICK, "--out", tmp_path / "m.nescio", "--quiet"]
    status, _, err = run_job([DIFFERING, json.dumps(told), "train", *arguments])
    assert status != 0
    assert line_of(err).startswith("error: process 1 of 2: ")
    assert "none.npz" in line_of(err)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--posterior", "hmc:20"], "--posterior hmc is fitted by one process"),
        (["--recipe", "article"], "start it without torchrun"),
        (["--network", "tests_support:none"], "none"),
        (["--network", "unwrappable:lists"], "the network cannot be trained"),
    ],
)
def test_what_processes_cannot_share_is_told_once(
    folder: Path, tmp_path: Path, more: Sequence[str], expected: str
) -> None:
    (tmp_path / "unwrappable.py").write_text(UNWRAPPABLE)
    arguments = [*TRAIN, folder / "stripes.npz", "--out", tmp_path / "m.nescio", "--quiet", *more]
    status, _, err = run_job(arguments, cwd=tmp_path)
    assert status != 0
    assert expected in line_of(err)


@pytest.mark.slow
def test_without_the_extra_torchrun_is_told_what_to_install(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lightning_fabric.py").write_text("raise ImportError('not installed')\n")
    arguments = [*TRAIN, folder / "stripes.npz", "--out", tmp_path / "m.nescio"]
    # The folder that a job runs in comes first where modules are looked for.
    status, _, err = run_job(arguments, cwd=tmp_path)
    assert status != 0
    assert "pip install 'nescio[distributed]'" in line_of(err)


LONG = ("--network", "mlp", "--augment", "none", "--samples", "20", "--epochs", "60")


def workers_of(job: subprocess.Popen[str]) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pgrep") is None, reason="pgrep is not installed")
def test_a_killed_process_ends_the_job_and_training_goes_on_from_its_checkpoint(
    folder: Path, tmp_path: Path
) -> None:
    saves = tmp_path / "checkpoints"
    arguments = [*TRAIN, folder / "stripes.npz", *LONG, "--checkpoint", saves]
    job = torchrun([*arguments, "--out", tmp_path / "m.nescio"])
    deadline = time.monotonic() + PATIENCE
    while not list(saves.glob("pass-*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(workers_of(job)[1], signal.SIGKILL)
    killed = time.monotonic()
    _, err = job.communicate(timeout=60)
    assert time.monotonic() - killed < 20
    assert job.returncode != 0
    assert "lost the others" in err or "Signal 9" in err or "SIGKILL" in err
    assert not (tmp_path / "m.nescio").exists()
    # Without --resume the checkpoints are in the way; with it training goes on.
    status, _, err = run_job([*arguments, "--out", tmp_path / "m.nescio"])
    assert status != 0
    assert "--resume" in line_of(err)
    resumed = [*arguments, "--out", tmp_path / "m.nescio", "--resume"]
    status, _, err = run_job(resumed)
    assert status == 0, err
    assert "training goes on after pass" in err
    # To the bit what a job gives that nobody killed.
    plain = [*TRAIN, folder / "stripes.npz", *LONG, "--out", tmp_path / "other.nescio"]
    assert run_job(plain)[0] == 0
    one, other = (nescio.load_model(tmp_path / n) for n in ("m.nescio", "other.nescio"))
    for name, value in one.guide.tensors().items():
        assert torch.equal(value, other.guide.tensors()[name]), name
    # Fewer processes have other random streams, so they are told apart.
    more = [*resumed[3:], "--force", "--quiet"]
    assert main(["train", *map(str, more)]) == 2


def has_namespaces() -> bool:
    """Whether network namespaces can be made here: by root, with iproute2."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", "nescio-try"], capture_output=True, check=False)
    if made.returncode == 0:
        subprocess.run(["ip", "netns", "del", "nescio-try"], check=False)
    return made.returncode == 0


@pytest.fixture
def two_hosts():
    """Two network namespaces that see each other over a wire and nothing else."""
    if sys.platform != "linux" or not has_namespaces():
        pytest.skip("network namespaces cannot be made here")
    names, addresses = ("nescio-a", "nescio-b"), ("10.77.0.1", "10.77.0.2")
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        wire = ["ip", "link", "add", "wire0", "netns", names[0], "type", "veth"]
        subprocess.run([*wire, "peer", "name", "wire0", "netns", names[1]], check=True)
        for name, address in zip(names, addresses, strict=True):
            inside = ["ip", "-n", name]
            subprocess.run([*inside, "addr", "add", f"{address}/24", "dev", "wire0"], check=True)
            for device in ("wire0", "lo"):
                subprocess.run([*inside, "link", "set", device, "up"], check=True)
        yield [["ip", "netns", "exec", name] for name in names], addresses
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.mark.slow
def test_two_hosts(two_hosts, folder: Path, tmp_path: Path) -> None:
    inside, addresses = two_hosts
    jobs = []
    for rank, command in enumerate(inside):
        run = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank"]
        run += [str(rank), "--nproc-per-node", "1", "--master-addr", addresses[0]]
        run += ["--master-port", "29511", *TRAIN, str(folder / "stripes.npz"), *QUICK]
        run += ["--out", str(tmp_path / "m.nescio")]
        environment = {"GLOO_SOCKET_IFNAME": "wire0", "OMP_NUM_THREADS": "1"}
        jobs.append(
            subprocess.Popen(
                [*command, *run],
                env={**os.environ, **environment, "PYTHONWARNINGS": "ignore"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for job in jobs:
        _, err = job.communicate(timeout=PATIENCE)
        assert job.returncode == 0, err
    found = nescio.load_model(tmp_path / "m.nescio")
    assert found.record.train_images + found.record.calibration_images == 703 - 105
