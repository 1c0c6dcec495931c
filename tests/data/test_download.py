import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from nescio.data import load, named
from nescio.data.download import RemoteFile, fetch
from nescio.errors import DataError, DownloadError

CONTENT = bytes(range(256)) * 400
PACKED = gzip.compress(CONTENT, mtime=0)
FILE = RemoteFile("a.gz", hashlib.sha256(CONTENT).hexdigest())


class Handler(BaseHTTPRequestHandler):
    """A mirror with moods: each folder behaves in its own way."""

    requests: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))  # type: ignore[attr-defined]
        folder = self.path.split("/")[1]
        if folder == "missing":
            self.send_error(404)
            return
        body = b"something else" if folder == "wrong" else PACKED
        start = 0
        if asked and folder != "whole":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + 100 if folder == "broken" else len(body)
        self.wfile.write(body[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def mirror(server: ThreadingHTTPServer, folder: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{folder}"


def test_a_good_mirror(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    path = fetch(FILE, tmp_path, [mirror(server, "good")])
    assert path.read_bytes() == PACKED
    assert [p.name for p in tmp_path.iterdir()] == ["a.gz"]


def test_the_next_mirror_is_tried(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    mirrors = [mirror(server, folder) for folder in ("missing", "wrong", "good")]
    assert fetch(FILE, tmp_path, mirrors).read_bytes() == PACKED


def test_wrong_content_leaves_nothing(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"wrong/a\.gz"):
        fetch(FILE, tmp_path, [mirror(server, "wrong")])
    assert list(tmp_path.iterdir()) == []


def test_another_hash_leaves_nothing(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="SHA-256 is"):
        fetch(RemoteFile("a.gz", "0" * 64), tmp_path, [mirror(server, "good")])
    assert list(tmp_path.iterdir()) == []


def test_a_broken_transfer_is_resumed(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="only 100 of"):
        fetch(FILE, tmp_path, [mirror(server, "broken")])
    assert [p.name for p in tmp_path.iterdir()] == ["a.gz.part"]
    assert fetch(FILE, tmp_path, [mirror(server, "good")]).read_bytes() == PACKED
    assert server.requests[-1] == ("/good/a.gz", "bytes=100-")  # type: ignore[attr-defined]


def test_a_server_without_ranges_restarts(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "a.gz.part").write_bytes(b"what an earlier try left")
    assert fetch(FILE, tmp_path, [mirror(server, "whole")]).read_bytes() == PACKED


def test_a_part_that_was_whole(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "a.gz.part").write_bytes(PACKED)
    assert fetch(FILE, tmp_path, [mirror(server, "good")]).read_bytes() == PACKED


def test_offline_names_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/a\.gz"):
        fetch(FILE, tmp_path, ["http://127.0.0.1:9"])


def test_only_http(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not an http address"):
        fetch(FILE, tmp_path, ["file:///etc"])


def test_verification_beyond_the_hash(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    def refuse(_: Path) -> None:
        raise DataError("holds something else")

    with pytest.raises(DownloadError, match="holds something else"):
        fetch(FILE, tmp_path, [mirror(server, "good")], verify=refuse)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("NESCIO_DATA", raising=False)
    monkeypatch.setattr(named, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def test_a_named_set_offline_says_what_to_do(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline = named.NamedSet("mnist", ("http://127.0.0.1:9",), (None,) * 4, ())
    monkeypatch.setitem(named.IDX_SETS, "mnist", offline)
    with pytest.raises(DownloadError) as caught:
        load("mnist")
    message = str(caught.value)
    assert "http://127.0.0.1:9/train-images-idx3-ubyte.gz" in message
    assert f"Put {', '.join(named.FILES)} into {empty_cache / 'mnist'}" in message
    assert "NESCIO_DATA" in message
    with pytest.raises(DownloadError, match="put its class folders A to J into"):
        load("notmnist", labelled=False)


def test_a_named_set_is_fetched_once(
    server: ThreadingHTTPServer, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    packed = {
        name: gzip.compress(
            bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
        )
        for name, array in zip(named.FILES, (images, np.array([0, 1], np.uint8)) * 2, strict=True)
    }

    def answer(handler: Handler) -> None:
        server.requests.append((handler.path, None))  # type: ignore[attr-defined]
        body = packed[handler.path.rsplit("/", 1)[-1]]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    monkeypatch.setattr(Handler, "do_GET", answer)
    monkeypatch.setattr(named, "SHAPES", ((2, 3, 3), (2,)) * 2)
    served = named.NamedSet("kmnist", (mirror(server, "good"),), (None,) * 4, ("o", "ki"))
    monkeypatch.setitem(named.IDX_SETS, "kmnist", served)
    dataset = load("kmnist")
    assert dataset.classes == ("o", "ki")
    assert dataset.test is not None
    assert np.array_equal(dataset.train.images[:, 0].numpy(), images)
    load("kmnist")
    assert len(server.requests) == 4  # type: ignore[attr-defined]
    monkeypatch.setattr(named, "SHAPES", ((9, 3, 3), (9,)) * 2)
    (empty_cache / "kmnist" / named.FILES[0]).unlink()
    with pytest.raises(DownloadError, match="expected"):
        load("kmnist")
