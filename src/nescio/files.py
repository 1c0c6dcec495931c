"""Files written whole or not at all; sizes as people write them."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from nescio.errors import UsageError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target``; move it there if the block succeeds.

    A reader of ``target`` sees the old file or the whole new one, never a part:
    a full disk, an exception or Ctrl-C in the block leaves the old file as it was.

    Args:
        target: Where the file shall be. Its folder is made when missing.

    Yields:
        An empty file in the same folder, for the block to write.

    Raises:
        OSError: The folder cannot be made or written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        put_in_place(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def claimed(target: Path, lock: Path) -> Iterator[None]:
    """Within it no other run on this machine or disk works on ``target``.

    The claim ends with the process, however it ends: by ``kill -9`` too.

    Args:
        target: What is worked on, for the message.
        lock: A file to lock; it is made, and gone afterwards. Its folder is made when missing.

    Raises:
        UsageError: Another run works on it.
        OSError: The lock cannot be written.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(blocking=False)
    except Timeout as error:
        raise UsageError(
            f"{target}: another run is writing there; wait for it, or name another "
            f"(if there is no such run, remove {lock})"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes it at the release
            lock.unlink()  # while it is ours: who comes next makes a new one
        held.release()


def put_in_place(temporary: Path, target: Path) -> None:
    """Move a whole file to where it shall be, of the same disk: a reader sees it whole or not."""
    _synchronise(temporary)
    # mkstemp makes files private; a result should be as readable as any other file.
    temporary.chmod(0o666 & ~_umask())
    temporary.replace(target)


def write_bytes(target: Path, content: bytes) -> None:
    """Write ``content`` to ``target``, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Write ``content`` to ``target`` as UTF-8, whole or not at all."""
    write_bytes(target, content.encode("utf-8"))


def _synchronise(path: Path) -> None:
    """Bring the file to the disk, so that the rename never outruns its content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(target: Path) -> None:
    """Fail now rather than after an hour of work, if ``target`` could not be written.

    Raises:
        UsageError: It is a folder, or its folder cannot be made or written.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file to write")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write {target}: {error.strerror}; choose a folder that you may write"
        ) from error


def check_output(target: Path, *, force: bool) -> None:
    """As :func:`check_writable`; and a file that is there is overwritten only when told to.

    For results that took work to make.

    Args:
        target: The file.
        force: Whether it may be overwritten.

    Raises:
        UsageError: It cannot be written; or it exists, and ``force`` is not set.
    """
    check_writable(target)
    if target.exists() and not force:
        raise UsageError(f"{target} exists; name another file, or overwrite it with --force")


def check_output_folder(target: Path, *, force: bool) -> None:
    """As :func:`check_output`, for a folder that files are written into.

    Args:
        target: The folder.
        force: Whether files in it may be overwritten.

    Raises:
        UsageError: It is a file; or there is something in it, and ``force`` is not set.
    """
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; name a folder")
    check_writable(target / "file")
    if not force and any(target.iterdir()):
        raise UsageError(f"{target} is not empty; name another folder, or add to it with --force")


def parse_bytes(text: str, option: str = "--memory") -> int:
    """``500M`` or ``4G`` as bytes.

    Args:
        text: The size.
        option: What it was given to, for the message.

    Raises:
        UsageError: It is no such size.
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise UsageError(f"{option} must be a size such as 500M or 4G, got {text!r}")
    return int(float(found[1]) * UNITS[found[2].upper()])
