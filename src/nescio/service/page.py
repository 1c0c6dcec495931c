"""The page for people: a fixed list of files that come with the package."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from nescio.service.problems import Problem

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
"""What is served, by the ends of names; anything else in the folder is not."""

INDEX = "index.html"


@dataclass(frozen=True)
class PageFile:
    """One file.

    Attributes:
        content: Its bytes.
        media_type: What they are.
        tag: Changes where they do.
    """

    content: bytes
    media_type: str
    tag: str


def read_page() -> Mapping[str, PageFile]:
    """All files of the page, by name; read once, so that a request never touches the disk."""
    found = {}
    for entry in files("nescio.service").joinpath("page").iterdir():
        media_type = TYPES.get("." + entry.name.rpartition(".")[2])
        if media_type is not None and entry.is_file():
            content = entry.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[entry.name] = PageFile(content, media_type, tag)
    return found


def page_router() -> APIRouter:
    """``/`` is the page, ``/page/NAME`` what belongs to it."""
    page = read_page()
    router = APIRouter(include_in_schema=False)

    def answer(request: Request, name: str) -> Response:
        file = page.get(name)
        if file is None:
            raise Problem(404, "there is no such page")
        headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
        asked = request.headers.get("if-none-match", "")
        if file.tag in (tag.strip().removeprefix("W/") for tag in asked.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    @router.get("/")
    async def index(request: Request) -> Response:
        return answer(request, INDEX)

    @router.get("/page/{name}")
    async def file(request: Request, name: str) -> Response:
        return answer(request, name)

    return router
