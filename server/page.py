"""The page at /ui: files that are served as they are, and that may load nothing from anywhere else."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).resolve().parent / "ui"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Asked for again each time; unchanged files are answered with a 304.
    "Cache-Control": "no-cache",
}
MEDIA = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Said here, because what `mimetypes` says depends on the machine."""


class PageFiles(StaticFiles):
    """The page's files, with what browsers have to know to keep it safe."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """One file, or a 304 where the browser has it already."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        if (media := MEDIA.get(Path(full_path).suffix)) is not None and "content-type" in response.headers:
            response.headers["content-type"] = media
        return response


class Page:
    """The routes of the page."""

    def __init__(self) -> None:
        self._files = PageFiles(directory=FOLDER, html=True)

    def routes(self) -> APIRouter:
        """`/ui/` and the files below it; `/ui` leads there."""
        router = APIRouter(include_in_schema=False)
        router.api_route("/ui", methods=["GET", "HEAD"])(self.enter)
        router.api_route("/ui/{path:path}", methods=["GET", "HEAD"])(self.file)
        return router

    async def enter(self) -> Response:
        """The page's address ends in a slash, so that its files are found beside it, behind proxies too."""
        return RedirectResponse("ui/")

    async def file(self, path: str, request: Request) -> Response:
        """One of the page's files."""
        return await self._files.get_response(posixpath.normpath(path), request.scope)
