"""The order of a pass over images, and processes that decode them ahead of it.

The order is decided before anything is read, by the seed alone: who reads, and how many at a
time, changes nothing.
"""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nescio.data.rows import Rows, Stack
from nescio.errors import DataError, NescioError

AHEAD = 2
"""Batches that each process has ready or in work."""


def shuffled(images: Stack, generator: torch.Generator) -> Tensor:
    """The order of one pass, ``(N,)`` int64: each image once.

    Of images in memory or mapped a permutation; of those that are decoded when they are needed,
    see :func:`pass_order`.
    """
    if isinstance(images, Rows) and images.lazy:
        buffer = max(part.buffer for part in images.lazy)
        return pass_order(images.groups(), buffer, generator)
    return torch.randperm(len(images), generator=generator)


def pass_order(groups: Tensor, buffer: int, generator: torch.Generator) -> Tensor:
    """The order of one pass that stays near to where images lie, ``(N,)`` int64.

    The groups come in random order, and the images of a group in their own; then each image is
    held back by a random number of places below ``buffer``, so it ends less than
    ``buffer`` places from where it stood. It is a permutation, every one as likely as any
    other, where ``buffer`` is at least ``N`` or no two images lie together.

    Args:
        groups: ``(N,)`` int64, which images lie together.
        buffer: At least 1.
        generator: Of the random numbers.
    """
    count = len(groups)
    names, number = groups.unique(return_inverse=True)
    if buffer >= count or len(names) == count:
        return torch.randperm(count, generator=generator)
    turn = torch.randperm(len(names), generator=generator)
    order = turn[number].argsort(stable=True)
    held_back = torch.rand(count, generator=generator, dtype=torch.float64) * buffer
    return order[(torch.arange(count) + held_back).argsort(stable=True)]


def read_ahead(
    images: Stack, batches: Iterable[Tensor], workers: int | None = None
) -> Iterator[Tensor]:
    """The images of each batch, in order: ``(n, K, H, W)`` uint8.

    Images that have to be decoded are decoded by processes of their own while the caller works
    on those before. The processes end with the iterator, and when this process does.

    Args:
        images: The images.
        batches: Of each batch which images it has, ``(n,)`` int64.
        workers: How many processes; ``None`` for as many as the images ask for, 0 for none.
            Images in memory or mapped need none.

    Raises:
        UnreadableImage: An image cannot be decoded.
        DataError: A shard is not what it was, or a process was lost.
    """
    lazy = images.lazy if isinstance(images, Rows) else ()
    wanted = max((part.workers for part in lazy), default=0) if workers is None else workers
    if not isinstance(images, Rows) or not lazy or not wanted:
        for batch in batches:
            yield images[batch]
        return
    for read in _by_workers(images, batches, wanted):
        yield read.to(images.device)


@dataclass(frozen=True)
class _Asked(Dataset[Tensor | NescioError]):
    """What a worker is asked for: a batch, or the error that stands in its place."""

    images: Rows

    def __getitem__(self, batch: list[int]) -> Tensor | NescioError:
        # Raised, PyTorch would make many lines of it.
        try:
            return self.images[torch.tensor(batch, dtype=torch.int64)]
        except NescioError as error:
            return error


def _by_workers(images: Rows, batches: Iterable[Tensor], workers: int) -> Iterator[Tensor]:
    with warnings.catch_warnings():
        # It warns of more workers than cores, which is for the user to say.
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        loader = DataLoader(
            _Asked(images.to("cpu")),
            batch_size=None,
            sampler=(batch.tolist() for batch in batches),  # small: no shared memory for it
            num_workers=workers,
            collate_fn=_as_it_is,
            prefetch_factor=AHEAD,
            multiprocessing_context=_context(),
            worker_init_fn=_begin,
            # Of its own: PyTorch's global one belongs to whoever trains.
            generator=torch.Generator(),
        )
        with _explained():
            found = iter(loader)
    try:
        while True:
            with _explained():
                read = next(found, None)
            if read is None:
                return
            if isinstance(read, NescioError):
                raise read
            yield read
    finally:
        # PyTorch ends its processes when the iterator is collected, and an error may keep it.
        end = getattr(found, "_shutdown_workers", None)
        if end is not None:
            end()


@contextmanager
def _explained() -> Iterator[None]:
    """What PyTorch says of a process that could not begin, or ended, in one line."""
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        raise DataError(
            "a process that reads images ahead was lost (killed, or out of memory or /dev/shm); "
            "begin again with fewer --workers, or with none: --workers 0"
        ) from error


def _as_it_is(read: Any) -> Any:
    return read


def _context() -> BaseContext:
    """How workers are started so that neither threads nor a GPU's state are copied.

    A fork of this process would copy locks that its threads hold. A server without threads forks
    them, which has PyTorch imported already, so a worker is there within milliseconds.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    forkserver.set_forkserver_preload([__name__, "nescio.data.members"])
    # Ctrl-C is for this process, which ends the others; they inherit what is blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return get_context("forkserver")


def _begin(_: int) -> None:
    """Let a worker end with the process that it reads for, even where that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
