"""The page of the service in a browser, its answers made here from sampled probabilities."""

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nescio.refusal import QuantileRule, Rule, entropy, mean_probability, quantile_probability

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Request, Route
    from starlette.types import ASGIApp

DIGITS = tuple("0123456789")
PATIENCE = 60_000
"""Milliseconds: other work on the same machine is no fault of the page."""

EXPECTED = "Failed to load resource: "
"""How Chromium tells in its console of an answer with a status of 400 and more."""


class Serving:
    """An ASGI application at a port of this machine, until closed."""

    def __init__(self, app: "ASGIApp") -> None:
        import uvicorn

        self.socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        end = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < end
            time.sleep(0.02)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()


def page_alone() -> "ASGIApp":
    """The page behind the service's own guard, without a model."""
    from fastapi import FastAPI

    from nescio.service.limits import Limits
    from nescio.service.page import page_router
    from nescio.service.security import Guard, Security

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(page_router())
    app.add_middleware(Guard, security=Security(), limits=Limits())
    return app


def model_json(**changed: Any) -> dict[str, Any]:
    """A model that knows digits, as ``GET /v1/model`` tells of it."""
    calibrated = {
        "kind": "calibrated",
        "unfamiliar": [3.0],
        "frontier": None,
        "description": "Own.",
    }
    rule = {**calibrated, "calibrated_on": {"images": 400}}
    model = {
        "name": "first",
        "classes": list(DIGITS),
        "preprocessing": {"channels": 1, "height": 28, "width": 28, "fit": "pad"},
        "network": "cnn",
        "posterior": "mean-field",
        "rule": rule,
        "samples": 100,
        "limits": {"body_bytes": 10_000_000, "formats": ["png"]},
        "trained_on": "mnist",
        "training_images": 54_000,
        "reference": np.linspace(0.1, 2.5, 200).tolist(),
        "promises": [promise(0.01, 2.0, 0.05), promise(0.05, 2.5, 0.3), promise(0.1, "all", "all")],
    }
    return {**model, **changed}


def promise(risk: float, unfamiliar: float | str, doubtful: float | str) -> dict[str, Any]:
    """A row of the table of promises."""
    row = {"max_risk": risk, "unfamiliar": unfamiliar, "doubtful": doubtful}
    return {**row, "confidence": 0.95, "coverage": 0.9, "images": 400}


def sampled_around(shares: Mapping[int, float], networks: int = 100, classes: int = 10) -> Tensor:
    """Networks ``(S, 1, C)`` of which each is fairly sure of one class, by these shares."""
    rows = []
    for place, share in shares.items():
        row = torch.full((classes,), 0.05 / (classes - 1))
        row[place] = 0.95
        rows += [row] * round(share * networks)
    return torch.stack(rows)[:, None]


def prediction_json(
    sampled: Tensor,
    classes: Sequence[str] = DIGITS,
    *,
    rule: Rule | None = None,
    unfamiliarity: float | None = 1.0,
    familiarity: float | None = 0.6,
    strange: bool = False,
    doubt: float | None = None,
    nearest: int = 4,
    image: NDArray[np.uint8] | None = None,
) -> dict[str, Any]:
    """What the service says of one image under ``rule``, or that it is ``strange``."""
    verdicts = (rule or QuantileRule(0.5, 0.2))(sampled)
    refused = strange or bool(verdicts.ambiguous[0])
    proposed = [] if strange else verdicts.proposed[0].nonzero().flatten().tolist()
    mean = mean_probability(sampled)
    image = np.zeros((1, 28, 28), np.uint8) if image is None else image
    channels, height, width = image.shape
    scores = {"predictive_entropy": float(entropy(mean)[0])}
    if familiarity is not None and unfamiliarity is not None:
        scores |= {"unfamiliarity": unfamiliarity, "familiarity": familiarity}
    return {
        "image": "0",
        "label": None if refused else classes[int(verdicts.top[0])],
        "accepted": not refused,
        "reason": "unfamiliar" if strange else "ambiguous" if refused else None,
        "proposed": [classes[c] for c in proposed],
        "nearest": None if familiarity is None else classes[nearest],
        "stage": None if familiarity is None else "image",
        "probability": dict(zip(classes, mean[0].tolist(), strict=True)),
        "median": dict(zip(classes, quantile_probability(sampled, 0.5)[0].tolist(), strict=True)),
        "scores": scores,
        "samples": len(sampled),
        "detail": {
            "sampled": [[round(p, 4) for p in row] for row in sampled[:, 0].tolist()],
            "settled_after": 16,
            "input": {
                "width": width,
                "height": height,
                "channels": channels,
                "pixels": base64.b64encode(image.tobytes()).decode(),
            },
            "doubt": float(1 - mean.max()) if doubt is None else doubt,
            "unfamiliarity": unfamiliarity,
        },
    }


@dataclass
class Visit:
    """The page with answers of ours, and all that it asked for or complained of."""

    context: "BrowserContext"
    url: str
    model: dict[str, Any] = field(default_factory=model_json)
    models: tuple[str, ...] = ("first",)
    answer: Callable[["Route"], None] | None = None
    prediction: dict[str, Any] = field(
        default_factory=lambda: prediction_json(sampled_around({3: 1.0}))
    )
    complaints: list[str] = field(default_factory=list)
    asked: list["Request"] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def open(self) -> "Page":
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/page")[0]))
        self.page.route("**/v1/**", self.answered)
        self.page.goto(self.url)
        return self.page

    def answered(self, route: "Route") -> None:
        """Answer a request of the page."""
        path = route.request.url.split("/v1/")[1]
        if path.startswith("predict"):
            self.asked.append(route.request)
            if self.answer is None:
                tell(route, {"model": "first", "predictions": [self.prediction]})
            else:
                self.answer(route)
        elif path.startswith("models"):
            tell(route, {"default": self.models[0], "models": list(self.models)})
        else:
            tell(route, {**self.model, "name": path.partition("model=")[2]})

    @property
    def verdict(self) -> str:
        """With a plain apostrophe."""
        return self.page.inner_text("#verdict").replace("\u2019", "'")

    def until(self, holds: Callable[[], bool], seconds: float = PATIENCE / 1000) -> None:
        """Let the browser go on until something holds."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end
            self.page.wait_for_timeout(20)

    def says(self, words: str) -> None:
        """Wait until this is the verdict."""
        try:
            self.until(lambda: self.verdict == words)
        except AssertionError:
            raise AssertionError(f"{self.verdict!r}, not {words!r}") from None

    def draw(self, points: Sequence[tuple[float, float]] = ((0.3, 0.3), (0.5, 0.7))) -> None:
        """One stroke by mouse, in shares of the pad's side."""
        box = self.page.locator("#pad").bounding_box()
        assert box is not None
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=8)
        self.page.mouse.up()


def tell(route: "Route", body: Any, status: int = 200, **headers: str) -> None:
    """Answer a request of the page."""
    content = {"Content-Type": "application/json", **headers}
    route.fulfill(status=status, headers=content, body=json.dumps(body))
