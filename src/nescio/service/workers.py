"""Several workers that accept from one socket, and the supervisor that keeps them.

uvicorn has a supervisor, but it starts its workers anew to reload, ends without a status,
starts what died again without a pause, and its workers outlive it where it is killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from nescio.errors import ServiceError
from nescio.service.metrics import forget_present
from nescio.service.settings import (
    INTERRUPTED,
    LINGER_SECONDS,
    SLACK_SECONDS,
    Job,
    Place,
    Settings,
)

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "nescio.service.worker")
"""What a worker is; ``-P``, as no file of the folder we stand in may be taken for a module."""

PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before a worker that died is started again: the next each time it dies early."""

STEADY_SECONDS = 60.0
"""A worker that served so long has not died early."""


class Supervisor:
    """Starts workers, starts again those that die, passes signals on, and ends with them.

    Args:
        factory: ``module:function`` that makes what each serves.
        settings: How to serve.
        listener: The socket that listens; it is closed when the service ends.
        folder: Where the workers keep their figures.
        ready: Called once the first of them serves.
    """

    def __init__(
        self,
        factory: str,
        settings: Settings,
        listener: socket.socket,
        folder: Path,
        ready: Callable[[], None],
    ) -> None:
        self._factory = factory
        self._settings = settings
        self._listener = listener
        self._folder = folder
        self._ready = ready
        self._served = False
        self._workers: dict[int, _Worker] = {}
        self._ending = asyncio.Event()
        self._failure: str | None = None
        self._status = 0

    async def run(self) -> int:
        """Serve until a signal ends it.

        Returns:
            The exit status: 0, or 130 after a second Ctrl-C.

        Raises:
            ServiceError: A worker could not start, and no other served.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        slots = range(self._settings.workers)
        try:
            await asyncio.gather(*(self._keep(slot) for slot in slots))
        finally:
            self._kill()
        if self._failure is not None:
            raise ServiceError(self._failure)
        return self._status

    async def _keep(self, slot: int) -> None:
        """Have a worker in this place, until the service ends."""
        early = 0
        while not self._ending.is_set():
            worker = self._workers[slot] = _Worker(slot, self._tell)
            began = time.monotonic()
            try:
                await self._start(worker)
                await worker.ended()
            except OSError as error:  # no memory for a process, or too many of them
                worker.fail(f"worker {slot + 1} cannot be started: {error.strerror}")
            forget_present(self._folder, slot)
            if self._ending.is_set():
                return
            if not worker.ready and not any(w.serves for w in self._workers.values()):
                self._failure = worker.why
                self._end()
                return
            early = 0 if time.monotonic() - began > STEADY_SECONDS else early + 1
            pause = PAUSES[min(early, len(PAUSES)) - 1] if early else 0.0
            logger.error("%s; another is started in %g s", worker.why, pause)
            await self._sleep(pause)

    async def _start(self, worker: _Worker) -> None:
        place = Place(worker.slot, self._folder)
        job = Job(self._factory, self._settings, place, self._listener.fileno())
        await worker.start(COMMAND, job)
        if self._ending.is_set():  # meanwhile
            worker.send(signal.SIGTERM)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but no longer than the service goes on."""
        try:
            await asyncio.wait_for(self._ending.wait(), seconds)
        except TimeoutError:
            return

    def _tell(self) -> None:
        if not self._served:
            self._served = True
            self._ready()

    def _reload(self) -> None:
        for worker in self._workers.values():
            worker.reload()

    def _end(self) -> None:
        """End all in good order, and what is left by force when its time is over."""
        if self._ending.is_set():
            return
        self._ending.set()
        # Now, as connections wait at it for as long as anyone has it open.
        self._listener.close()
        for worker in self._workers.values():
            worker.send(signal.SIGTERM)
        patience = self._settings.grace + LINGER_SECONDS + SLACK_SECONDS
        asyncio.get_running_loop().call_later(patience, self._kill)

    def _interrupt(self) -> None:
        if self._ending.is_set():
            self._status = INTERRUPTED
            self._kill()
        self._end()

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.send(signal.SIGKILL)


class _Worker:
    """A worker as its supervisor sees it."""

    def __init__(self, slot: int, tell: Callable[[], None]) -> None:
        self.slot = slot
        self._tell = tell
        self.ready = False
        self._error = ""
        self._reload_due = False
        self._process: asyncio.subprocess.Process | None = None

    @property
    def serves(self) -> bool:
        """Whether it answers requests."""
        return self.ready and self._process is not None and self._process.returncode is None

    @property
    def why(self) -> str:
        """Why it ended, in one line."""
        if self._error:
            return self._error
        status = self._process.returncode if self._process else None
        how = f"with status {status}"
        if status is not None and status < 0:
            how = f"by {signal.Signals(-status).name}"
        when = "" if self.ready else " before it served"
        return f"worker {self.slot + 1} ended {how}{when}"

    def fail(self, why: str) -> None:
        """It could not be started."""
        self._error = why

    async def start(self, command: Sequence[str], job: Job) -> None:
        # A session of its own: Ctrl-C at the terminal is for the supervisor to pass on.
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(job.socket,),
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(job.to_json())

    async def ended(self) -> None:
        """Listen to what it tells, until it ends."""
        assert self._process is not None  # noqa: S101 - it was started
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        async for line in self._process.stdout:
            report = json.loads(line)
            self._error = report.get("error", "")
            if report.get("ready"):
                self.ready = True
                self._tell()
                logger.info("worker %d serves (process %d)", self.slot + 1, self._process.pid)
                if self._reload_due:
                    self.reload()
        await self._process.wait()

    def reload(self) -> None:
        """Have it read its models anew; where it is still starting, once it has started."""
        self._reload_due = not self.ready
        if self.ready:
            self.send(signal.SIGHUP)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self._process is not None and self._process.returncode is None:
            # The process' own method would take its status away from whoever waits for it.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
