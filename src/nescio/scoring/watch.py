"""How far all processes of a run are."""

import time

from nescio.progress import Task
from nescio.scoring.parts import PartsFolder

LISTING_SECONDS = 2.0
"""How often, at most, the folder is listed for what other processes have done."""

LISTING_SHARE = 0.02
"""How much of the time may go into that."""


class Watch:
    """Tells how far all processes are: this one by itself, the others by their parts.

    Args:
        folder: Where the parts appear.
        task: What is told.
        enabled: Whether this process tells; the others only work.
    """

    def __init__(self, folder: PartsFolder, task: Task, *, enabled: bool) -> None:
        self._folder, self._task, self._enabled = folder, task, enabled
        self._told = self._own = self._finished = self._others = 0
        self._next = 0.0

    def advance(self, count: int) -> None:
        """So many more images of a piece are done by this process."""
        self._own += count
        self.look()

    def finished(self) -> None:
        """The piece is done, and among the parts."""
        self._finished = self._own

    def look(self, *, now: bool = False) -> None:
        """Tell how far all are; what others did is looked up unless that was done lately."""
        if not self._enabled:
            return
        began = time.monotonic()
        if now or began >= self._next:
            listed = sum(part.counts.images for part in self._folder.parts())
            self._others = listed - self._finished
            took = time.monotonic() - began
            self._next = began + max(LISTING_SECONDS, took / LISTING_SHARE)
        done = self._others + self._own
        if done > self._told:
            self._task.advance(done - self._told)
            self._told = done
