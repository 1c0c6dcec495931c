"""A service without PyTorch, to try what serves it: ``python -m stub_service SETTINGS``.

Its model is a file with a word in it; a file with ``bad`` in it cannot be read.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import parse_qs

from pydantic import TypeAdapter

from nescio.errors import ModelFileError, NescioError
from nescio.service.logs import Observer, logger
from nescio.service.metrics import Metrics
from nescio.service.serve import serve
from nescio.service.settings import Place, Settings


class Stub:
    def __init__(self, settings: Settings, place: Place) -> None:
        self._path = Path(settings.models[0])
        self._metrics = Metrics(place.folder)
        self._draining = False
        self._word = self._read()
        self.app = Observer(self._answer, self._metrics)

    def reload(self) -> None:
        try:
            self._word = self._read()
        except ModelFileError as error:
            logger.error("the old model stays: %s", error)
            self._metrics.loaded(0, failed=1)
        else:
            logger.info("the model is loaded anew")
            self._metrics.loaded(1)

    def drain(self) -> None:
        self._draining = True

    def tick(self) -> None:
        pass

    def _read(self) -> str:
        if not self._path.exists():
            raise ModelFileError(f"{self._path}: there is no such file")
        word = self._path.read_text()
        if "die" in word:
            os._exit(7)
        if "bad" in word:
            raise ModelFileError(f"{self._path}: is bad")
        return word

    async def _answer(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": f"{message['type']}.complete"})
            return
        query = parse_qs(scope["query_string"].decode())
        await asyncio.sleep(float(query.get("seconds", ["0"])[0]))
        status, body = self._content(scope["path"])
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _content(self, path: str) -> tuple[int, bytes]:
        match path:
            case "/metrics":
                return 200, self._metrics.render()
            case "/readyz":
                return (503 if self._draining else 200), b""
            case "/v1/predict":
                self._metrics.image(None, 20)
                return 200, json.dumps({"word": self._word, "process": os.getpid()}).encode()
            case "/healthz" | "/":
                return 200, b""
            case "/fail":
                raise ValueError
        return 404, b""


make = Stub


def announce(where: str) -> None:
    sys.stdout.write(f"{where}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        given = TypeAdapter(Settings).validate_json(sys.argv[1])
        sys.exit(serve(given, announce, factory="stub_service:make"))
    except NescioError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
