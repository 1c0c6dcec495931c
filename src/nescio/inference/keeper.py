"""What keeps a run: its state to a checkpoint and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nescio.data import Stack
from nescio.inference.checkpoint import Checkpoints, Saved, write_or_tell
from nescio.inference.fitted import Epoch
from nescio.inference.learner import Learner
from nescio.inference.parts import Parts
from nescio.inference.saving import (
    copy_all,
    from_bytes,
    named,
    pack_optimiser,
    pack_scheduler,
    random_state,
    set_random_state,
    to_bytes,
    under,
    unpack_optimiser,
    unpack_scheduler,
)
from nescio.progress import Reporter
from nescio.ranks import gather_bytes, together


@dataclass(frozen=True)
class Begun:
    """A pass that is under way.

    Attributes:
        steps: How many steps of it are made.
        totals: ``(4,)``: the sums over them of loss, log-likelihood, KL and images.
        seconds: How long they took.
    """

    steps: int
    totals: Tensor
    seconds: float = 0.0


class Kept(Protocol):
    """What of a run is kept: all that its later steps hang on."""

    network: nn.Module
    images: Stack
    parts: Parts
    learner: Learner
    optimisers: list[torch.optim.Optimizer]
    schedulers: list[torch.optim.lr_scheduler.OneCycleLR | None]
    shuffler: torch.Generator
    reporter: Reporter

    def trained(self) -> list[Tensor]:
        """All that training changes, in an order that stays."""
        ...


class Keeper:
    """Writes the state of a run to checkpoints, and puts it back.

    Process 0 writes for all. What differs between processes (random streams, statistics of
    images) is gathered first, so a checkpoint is one file.

    Args:
        run: Whose state.
        checkpoints: Where; ``None`` for nowhere.
        streams: The random streams of this process's own.
    """

    def __init__(
        self, run: Kept, checkpoints: Checkpoints | None, streams: Sequence[torch.Generator]
    ) -> None:
        self._run, self._checkpoints, self._streams = run, checkpoints, streams
        self._ranks = run.parts.ranks
        self._written = time.monotonic()

    def last(self) -> tuple[Saved | None, Saved | None]:
        """The last complete pass, and what is known of the one after it.

        Raises:
            CheckpointError: They cannot be used.
        """
        if self._checkpoints is None:
            return None, None
        with together(self._ranks):
            return self._checkpoints.last()

    def due(self) -> bool:
        """Whether it is time for a checkpoint of the pass under way; process 0 has the clock."""
        if self._checkpoints is None:
            return False
        late = time.monotonic() - self._written >= 60 * self._checkpoints.minutes
        if self._ranks.size == 1:
            return late
        vote = torch.tensor(float(late and self._ranks.rank == 0), device=self._ranks.place)
        return bool(self._ranks.sum_(vote))

    def keep_pass(self, history: tuple[Epoch, ...]) -> None:
        """Write the state after a complete pass."""
        if self._checkpoints is not None:
            self._keep(history, 0, self._run.shuffler.get_state(), {})

    def keep_within(self, history: tuple[Epoch, ...], begun: Begun, shuffled: Tensor) -> None:
        """Write the state within a pass, with what drew its order."""
        extra = {"begun/totals": begun.totals, "begun/seconds": torch.tensor(begun.seconds)}
        self._keep(history, begun.steps, shuffled, extra)

    def _keep(
        self, history: tuple[Epoch, ...], steps: int, shuffled: Tensor, extra: dict[str, Tensor]
    ) -> None:
        assert self._checkpoints is not None  # noqa: S101 - the callers looked
        run = self._run
        own = [torch.frombuffer(bytearray(each), dtype=torch.uint8) for each in self._gathered()]
        if self._ranks.rank:
            return
        packed = [pack_optimiser(each) for each in run.optimisers]
        tensors = {
            **named(run.trained(), "trained"),
            **named(own, "process"),
            **extra,
            "shuffled": shuffled,
        }
        for place, (averages, _) in enumerate(packed):
            tensors |= {f"optimiser/{place}/{name}": value for name, value in averages.items()}
        numbers: dict[str, Any] = {
            "history": [asdict(epoch) for epoch in history],
            "optimisers": [each for _, each in packed],
            "schedulers": [pack_scheduler(each) for each in run.schedulers],
        }
        on_cpu = {name: value.detach().cpu() for name, value in tensors.items()}
        self._written = time.monotonic()
        saved = Saved(on_cpu, numbers)
        write_or_tell(self._checkpoints, (len(history), steps), saved, run.reporter)

    def _gathered(self) -> list[bytes]:
        """What is each process's own."""
        run = self._run
        own = {
            **named([each.get_state() for each in self._streams], "stream"),
            **named(list(run.network.buffers()), "buffer"),
            **{f"learner/{name}": value for name, value in run.learner.state().items()},
            **{f"random/{n}": v for n, v in random_state(run.images.device).items()},
        }
        return gather_bytes(self._ranks, to_bytes(own))

    def restore(self, saved: Saved) -> tuple[Epoch, ...]:
        """Put back the state of a checkpoint; gives the complete passes before it."""
        run, tensors, numbers = self._run, saved.tensors, saved.numbers
        copy_all(run.trained(), tensors, "trained")
        run.shuffler.set_state(tensors["shuffled"])
        for place, optimiser in enumerate(run.optimisers):
            own = under(tensors, f"optimiser/{place}")
            unpack_optimiser(optimiser, own, numbers["optimisers"][place])
        for scheduler, steps in zip(run.schedulers, numbers["schedulers"], strict=True):
            unpack_scheduler(scheduler, steps)
        self._restore_own(from_bytes(tensors[f"process/{self._ranks.rank}"]))
        return tuple(Epoch(**each) for each in numbers["history"])

    def _restore_own(self, own: dict[str, Tensor]) -> None:
        run = self._run
        for place, stream in enumerate(self._streams):
            stream.set_state(own[f"stream/{place}"])
        copy_all(list(run.network.buffers()), own, "buffer")
        run.learner.restore(under(own, "learner"))
        set_random_state(under(own, "random"), run.images.device)

    def progress(self, saved: Saved) -> Begun:
        """The pass that a checkpoint is within."""
        totals = saved.tensors["begun/totals"].to(self._run.images.device)
        return Begun(int(saved.numbers["steps"]), totals, float(saved.tensors["begun/seconds"]))
