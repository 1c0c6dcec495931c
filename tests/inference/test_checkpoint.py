"""Checkpoints: a fit that was killed ends, to the bit, as one that was not."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nescio.data import ImageSet
from nescio.errors import CheckpointError, UsageError
from nescio.inference import ARTICLE, DEFAULT, Checkpoints, Fit, Job, Recipe, fit_posterior
from nescio.inference.checkpoint import Saved

RECIPE = replace(
    DEFAULT, epochs=4, minimum_steps=0, batch_size=5, learning_rate=0.01, augment="shift:1"
)
STEPS = 24
"""A pass of it over :func:`images`."""


class Killed(BaseException):
    """As by ``kill -9``: nothing in the fit catches it."""


class Until:
    """A reporter that kills at one step, counted over all stretches."""

    def __init__(self, step: int = -1) -> None:
        self.step, self.notes, self.statuses = step, list[str](), list[str]()

    @contextmanager
    def task(self, *_: object):
        yield self

    def advance(self, amount: int = 1, status: str = "") -> None:
        self.step -= amount
        self.statuses += [status] if status else []
        if self.step == 0 and amount:
            raise Killed

    def note(self, message: str) -> None:
        self.notes.append(message)


def images(count: int = 118, seed: int = 0) -> ImageSet:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 80, (count, 1, 6, 6), generator=draws)
    pixels[torch.arange(count), 0, labels] += 150
    return ImageSet("bars", pixels.to(torch.uint8), labels, ("top", "middle", "bottom"))


def network(seed: int = 0, width: int = 12) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64, width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(width, 3),
        )


def job(recipe: Recipe = RECIPE, **changes: object) -> Job:
    width = changes.pop("width", 12)
    usual = Job(network(width=width), images(), recipe, seed=3, watch=images(30, 1), again=network)
    return replace(usual, **changes)


def everything(fit: Fit) -> dict[str, Tensor]:
    return {**fit.guide.tensors(), **fit.network.state_dict()}


def assert_same(found: Fit, expected: Fit) -> None:
    theirs = everything(expected)
    assert everything(found).keys() == theirs.keys()
    for name, value in everything(found).items():
        assert torch.equal(value, theirs[name]), name
    assert [replace(epoch, seconds=0.0) for epoch in found.history] == [
        replace(epoch, seconds=0.0) for epoch in expected.history
    ]


def killed_and_resumed(
    folder: Path, wanted: Job, kills: list[int], minutes: float = 1e9
) -> tuple[Fit, list[str]]:
    """The fit that comes of being killed after so many steps, once after another."""
    notes = list[str]()
    for step in [*kills, -1]:
        reporter = Until(step)
        saves = Checkpoints(folder, resume=True, minutes=minutes, facts={"data": "bars"})
        try:
            with saves.claim():
                fit = fit_posterior(replace(wanted, reporter=reporter, checkpoints=saves))
        except Killed:
            assert step != -1
        notes += reporter.notes
    return fit, notes


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"posterior": "low-rank:2"},
        {"posterior": "ivon"},
        {"posterior": "laplace"},
        *(
            pytest.param(changes, marks=pytest.mark.slow)
            for changes in (
                {"random": "all", "estimator": "shared"},
                {"random": "all", "estimator": "flipout"},
                {"schedule": "constant", "scale": "exp", "balance": "sampled"},
                {"posterior": "low-rank:2", "random": "all"},
                {"posterior": "dropout:0.2"},
                {"engine": "pyro", "estimator": "shared", "augment": "none"},
            )
        ),
    ],
    ids=str,
)
def test_a_killed_fit_ends_as_one_that_was_not(tmp_path: Path, changes: dict[str, object]) -> None:
    if changes.get("posterior") == "laplace":
        pytest.importorskip("laplace", reason="laplace-torch is not installed")
    wanted = job(replace(RECIPE, **changes))
    # Within the first pass, at the end of the second, at the first step of the fourth.
    fit, notes = killed_and_resumed(tmp_path / "c", wanted, [7, 2 * STEPS, STEPS + 1])
    assert_same(fit, fit_posterior(wanted))
    assert [note for note in notes if "goes on" in note] == [
        "training goes on after pass 1",
        "training goes on after pass 2",
    ]


def test_the_ring_of_noise_is_kept(tmp_path: Path) -> None:
    """Many random weights take their noise from a ring, which lives longer than a step."""
    wanted = job(replace(RECIPE, random="all", estimator="shared"), width=1100)
    assert sum(p.numel() for p in wanted.network.parameters()) > 2**16
    fit, _ = killed_and_resumed(tmp_path / "c", wanted, [STEPS + 3])
    assert_same(fit, fit_posterior(wanted))


@pytest.mark.parametrize(
    "posterior", ["mean-field", "ivon", pytest.param("ensemble:3", marks=pytest.mark.slow)]
)
def test_within_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, posterior: str) -> None:
    monkeypatch.setattr("nescio.inference.run.CHECK_EVERY", 3)
    wanted = job(replace(RECIPE, posterior=posterior))
    kills = [8, STEPS - 1, 2, 2 * STEPS, 1]
    fit, notes = killed_and_resumed(tmp_path / "c", wanted, kills, minutes=1e-9)
    assert_same(fit, fit_posterior(wanted))
    # Killed while it made step 8: the state after step 6 is there.
    assert notes[0] == "training goes on after pass 0 and 6 steps"


def test_a_fit_that_is_done_is_not_made_again(tmp_path: Path) -> None:
    fit, _ = killed_and_resumed(tmp_path / "c", job(), [])
    again = Until()
    saves = Checkpoints(tmp_path / "c", resume=True, facts={"data": "bars"})
    assert_same(fit_posterior(replace(job(), reporter=again, checkpoints=saves)), fit)
    assert again.statuses == []


def test_the_last_passes_are_kept_and_of_the_pass_under_way_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nescio.inference.run.CHECK_EVERY", 5)
    saves = Checkpoints(tmp_path, keep=2, minutes=1e-9)
    with pytest.raises(Killed):
        fit_posterior(replace(job(), checkpoints=saves, reporter=Until(3 * STEPS + 12)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "pass-000002.safetensors",
        "pass-000003-step-000010.safetensors",
        "pass-000003.safetensors",
    ]


def checkpoint(folder: Path, facts: dict[str, str] | None = None) -> Path:
    own = Checkpoints(folder, facts={"data": "a", "seed": "3"} if facts is None else facts)
    own.write(4, 0, Saved({"x": torch.arange(3.0)}, {}))
    return folder / "pass-000004.safetensors"


def claim(checkpoints: Checkpoints) -> None:
    with checkpoints.claim():
        pass


def test_what_is_not_ours_or_in_the_way_is_named_before_any_work(tmp_path: Path) -> None:
    checkpoint(tmp_path / "earlier")
    with pytest.raises(CheckpointError, match="of an earlier training; go on from them with"):
        claim(Checkpoints(tmp_path / "earlier"))
    claim(Checkpoints(tmp_path / "earlier", resume=True))
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(CheckpointError, match=r"other things than checkpoints, such as 'a\.txt'"):
        claim(Checkpoints(tmp_path, resume=True))
    with pytest.raises(CheckpointError, match="cannot be written there"):
        claim(Checkpoints(tmp_path / "a.txt"))
    for bad in ({"keep": 0}, {"minutes": 0.0}, {"minutes": float("nan")}):
        with pytest.raises(CheckpointError):
            Checkpoints(tmp_path, **bad)


def test_two_trainings_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with (
        Checkpoints(tmp_path).claim(),
        pytest.raises(UsageError, match="another run is writing there; wait for it"),
    ):
        claim(Checkpoints(tmp_path, resume=True))
    assert not list(tmp_path.iterdir())
    claim(Checkpoints(tmp_path))


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".pass-000001.safetensors.x7.part"
    left.write_bytes(b"half")
    claim(Checkpoints(tmp_path))
    assert not left.exists()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"data": "b", "seed": "3"}, r"of other data \(a, now b\)"),
        ({"data": "a", "seed": "4"}, r"of other seed \(3, now 4\)"),
        ({"data": "a"}, r"of other seed \(3, now none\)"),
        ({"data": "a", "seed": "3", "x": "1"}, r"of other x \(none, now 1\)"),
    ],
)
def test_a_checkpoint_of_something_else(
    tmp_path: Path, facts: dict[str, str], message: str
) -> None:
    checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        Checkpoints(tmp_path, resume=True, facts=facts).last()


def test_damaged_and_foreign_checkpoints(tmp_path: Path) -> None:
    own = Checkpoints(tmp_path, resume=True, facts={"data": "a", "seed": "3"})
    path = checkpoint(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x7f")
    with pytest.raises(CheckpointError, match="a damaged checkpoint; remove it"):
        own.last()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="not a checkpoint, or a damaged one; remove it"):
        own.last()
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        own.last()
    path.write_bytes(whole)
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["nescio.checkpoint"])
    save_file(
        {"x": torch.arange(3.0)},
        path,
        metadata={"nescio.checkpoint": json.dumps({**about, "format": 99})},
    )
    with pytest.raises(CheckpointError, match="of another nescio"):
        own.last()


def test_a_full_disk_does_not_end_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    reporter = Until()
    saves = Checkpoints(tmp_path)
    monkeypatch.setattr("nescio.inference.checkpoint.save_file", full)
    fit = fit_posterior(replace(job(), checkpoints=saves, reporter=reporter))
    assert_same(fit, fit_posterior(job()))
    assert reporter.notes == RECIPE.epochs * [
        f"{tmp_path}: a checkpoint could not be written (No space left on device); training goes "
        "on, and the earlier ones are still there"
    ]
    assert list(tmp_path.iterdir()) == []


def test_chains_take_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out --checkpoint"):
        fit_posterior(job(replace(RECIPE, posterior="hmc:20"), checkpoints=Checkpoints(tmp_path)))


def test_snapshots_go_on_too(tmp_path: Path) -> None:
    wanted = job(replace(RECIPE, posterior="swag:6"))
    # In the third pass of training, in the second of the descent, and in its fifth.
    kills = [2 * STEPS + 5, 2 * STEPS + STEPS + 7, 3 * STEPS + 1]
    fit, _ = killed_and_resumed(tmp_path / "c", wanted, kills)
    assert_same(fit, fit_posterior(wanted))
    assert (tmp_path / "c/snapshots/pass-000006.safetensors").exists()


def test_the_article_can_be_stopped_too(tmp_path: Path) -> None:
    recipe = replace(ARTICLE, epochs=2, batch_size=30)
    wanted = job(recipe, network=nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
    fit, _ = killed_and_resumed(tmp_path / "c", wanted, [5])
    assert_same(fit, fit_posterior(wanted))
