"""Fetch a file from one of its mirrors: whole and verified, or not at all."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from nescio.errors import DataError, DownloadError
from nescio.progress import SILENT, Reporter, Task

TIMEOUT = 30.0
"""Seconds that a mirror may be silent."""

LARGEST = 1 << 30
"""Bytes that no file of ours exceeds; a mirror that sends more is not ours."""

BLOCK = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file and how to know that it is the right one.

    Attributes:
        name: Its file name, the same on every mirror.
        sha256: Of its content, *uncompressed* when the name ends in ``.gz``; ``None``
            when no digest is known, and then ``verify`` of :func:`fetch` decides alone.
    """

    name: str
    sha256: str | None = None


def fetch(
    file: RemoteFile,
    folder: Path,
    mirrors: Sequence[str],
    *,
    verify: Callable[[Path], object] | None = None,
    reporter: Reporter = SILENT,
) -> Path:
    """Bring ``file`` into ``folder``; try the mirrors in turn.

    The content arrives under another name (``NAME.part``) and is moved to its own only
    when it is whole and verified. A part left by an earlier try is continued.

    Args:
        file: What to fetch.
        folder: Where to put it.
        mirrors: Addresses of the folders that hold it.
        verify: Also called with the whole file; raises :class:`DataError` if it is wrong.
        reporter: Told of the bytes.

    Raises:
        DownloadError: No mirror gave the right file; the message names each and why.
    """
    target, part = folder / file.name, folder / f"{file.name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    tried = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file.name}"
        try:
            _download(url, part, reporter)
            _check(part, file, verify)
        except (OSError, HTTPException, DataError) as error:
            # Whatever an http server said in an error is not a part of the file.
            tried.append(f"{url} ({_reason(error)})")
            if isinstance(error, DataError):
                part.unlink(missing_ok=True)
            continue
        part.replace(target)
        return target
    raise DownloadError("; ".join(tried))


def content_sha256(path: Path, *, compressed: bool) -> str:
    """SHA-256 of a file's content, uncompressed if it is gzip.

    Raises:
        DataError: It is not a whole gzip file.
    """
    digest = hashlib.sha256()
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as content:
            size = 0
            while block := content.read(BLOCK):
                size += len(block)
                if size > LARGEST:
                    raise DataError("larger than any file of ours")
                digest.update(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"not a whole gzip file: {error}") from error
    return digest.hexdigest()


def _download(url: str, part: Path, reporter: Reporter) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError("not an http address")
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"User-Agent": "nescio"})  # noqa: S310 - the scheme is checked
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urlopen(request, timeout=TIMEOUT)  # noqa: S310 - the scheme is checked
    except HTTPError as error:
        error.close()
        if error.code != 416:
            raise
        # Nothing is left after what we have: it is whole, or it is not a part of this file.
        return
    with response:
        resumed = have > 0 and response.status == 206
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        if total is not None and total > LARGEST:
            raise DataError("larger than any file of ours")
        name = url.rsplit("/", 1)[-1]
        with reporter.task(f"fetching {name}", total, "bytes") as task:
            task.advance(start)
            with part.open("ab" if resumed else "wb") as file:
                received = _copy(response, file, task)
        if total is not None and start + received < total:
            raise OSError(f"only {start + received} of {total} bytes came; try again to go on")


def _copy(response: HTTPResponse, file: IO[bytes], task: Task) -> int:
    received = 0
    while block := response.read(BLOCK):
        file.write(block)
        received += len(block)
        task.advance(len(block))
        if received > LARGEST:
            raise DataError("larger than any file of ours")
    return received


def _check(part: Path, file: RemoteFile, verify: Callable[[Path], object] | None) -> None:
    if file.sha256 is not None:
        found = content_sha256(part, compressed=file.name.endswith(".gz"))
        if found != file.sha256:
            raise DataError(f"SHA-256 is {found[:16]}..., expected {file.sha256[:16]}...")
    if verify is not None:
        verify(part)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__
