"""Answer the page's HTTP requests: static files and queries, GET only, without changing anything."""

from __future__ import annotations

import asyncio
import re
from asyncio import Future
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from tts_pipeline.browse.bill_groups import GroupMemory
from tts_pipeline.browse.budgets import BudgetReader
from tts_pipeline.browse.guard import guard_middleware
from tts_pipeline.browse.months import ALL, Selection
from tts_pipeline.browse.row import Clip, parse_row_address, read_clip, read_row
from tts_pipeline.browse.row_query import parse_row_query
from tts_pipeline.browse.savings import dataset_saved
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.report.keys import UTC_NAME
from tts_pipeline.storage.store import Store

T = TypeVar("T")

STATIC = Path(__file__).parent / "static"
CACHED_CLIPS = 16
"""Clips that are kept in memory, because a player requests one file in several pieces."""

CACHED_SAVINGS = 16
"""Months whose savings are kept in memory: they are counted in the speech tables."""

_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg", "opus": "audio/ogg"}
_SINGLE_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_NO_CACHE = {"Cache-Control": "no-cache"}


class BrowseApp:
    """A dataset as a web application.

    Args:
        store: The dataset's files.
        host: The name or address on which the server answers.
        budgets: Returns the budgets.
        timezone: The time zone of months and days unless the page asks for another.
    """

    def __init__(self, store: Store, host: str, budgets: BudgetReader, timezone: str = UTC_NAME) -> None:
        self._host = host
        self._budgets = budgets
        self._timezone = timezone
        self._memory = GroupMemory()
        self._show(Snapshot(store, self._memory))

    def application(self) -> web.Application:
        """Return the application with its routes and middlewares."""
        application = web.Application(middlewares=[guard_middleware(self._host), errors_as_json])
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/api/dataset", self._dataset),
                web.get("/api/rows", self._rows),
                web.get("/api/bill", self._bill),
                web.get("/api/row/{table}/{part}/{number}", self._row),
                web.get("/api/audio/{table}/{part}/{number}", self._audio),
                web.static("/static", STATIC),
            ]
        )
        application.on_startup.append(self._read_ahead)
        return application

    def _show(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._read_clip = lru_cache(CACHED_CLIPS)(partial(read_clip, snapshot.dataset))
        self._saved = lru_cache(CACHED_SAVINGS)(partial(dataset_saved, snapshot.dataset))

    async def _read_ahead(self, _: web.Application) -> None:
        """Read the rows before the first request; an error is raised again by the request that needs them."""
        self._preload = asyncio.get_running_loop().run_in_executor(None, self._snapshot.rows)
        self._preload.add_done_callback(Future.exception)

    async def _page(self, _: web.Request) -> web.StreamResponse:
        await asyncio.to_thread(self._refresh)
        return page_response("index.html")

    def _refresh(self) -> None:
        """Take a new snapshot if parts were published since the last one."""
        if not self._snapshot.is_current():
            self._show(Snapshot(self._snapshot.dataset.store, self._memory))

    async def _dataset(self, _: web.Request) -> web.Response:
        return JsonResponse(await asyncio.to_thread(self._snapshot.summary))

    async def _rows(self, request: web.Request) -> web.Response:
        query, snapshot = parse_row_query(request.query), self._snapshot

        def page() -> dict[str, Any]:
            total, rows = snapshot.page(query)
            return {"total": total, "rows": rows}

        return JsonResponse(await asyncio.to_thread(page))

    async def _bill(self, request: web.Request) -> web.Response:
        selection = Selection(request.query.get("month") or ALL, request.query.get("timezone") or self._timezone)
        figures, saved, budgets = await asyncio.gather(
            asyncio.to_thread(self._snapshot.bill, selection),
            asyncio.to_thread(self._saved, selection),
            asyncio.to_thread(self._budgets),
        )
        return JsonResponse({**figures, "saved": saved, "budgets": budgets})

    async def _row(self, request: web.Request) -> web.Response:
        address = _or_not_found(parse_row_address(**request.match_info))
        return JsonResponse(_or_not_found(await asyncio.to_thread(read_row, self._snapshot.dataset, address)))

    async def _audio(self, request: web.Request) -> web.Response:
        address = _or_not_found(parse_row_address(**request.match_info))
        clip = _or_not_found(await asyncio.to_thread(self._read_clip, address))
        if clip.refusal is not None:
            return JsonResponse({"error": clip.refusal}, status=422)
        return _clip_response(request, clip)


def page_response(name: str) -> web.FileResponse:
    """Return a page of the package."""
    return web.FileResponse(STATIC / name, headers=_NO_CACHE)


class JsonResponse(web.Response):
    """An answer in JSON: money as text, times in ISO 8601."""

    def __init__(self, value: Any, status: int = 200) -> None:
        body = orjson.dumps(value, default=_json_default)
        super().__init__(body=body, status=status, content_type="application/json", headers=_NO_CACHE)


def _json_default(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):  # in a passed-through column of the source
        return f"{len(value)} bytes"
    return str(value)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with the text of an error of the configuration (400) or of the files (503)."""
    try:
        return await handler(request)
    except ConfigurationError as error:
        return JsonResponse({"error": str(error)}, status=400)
    except StorageError as error:
        return JsonResponse({"error": str(error)}, status=503)


def _or_not_found(value: T | None) -> T:
    if value is None:
        raise web.HTTPNotFound(text="the dataset has no such row\n")
    return value


def _clip_response(request: web.Request, clip: Clip) -> web.Response:
    """Answer with a clip, or with the byte range of it that the request names."""
    size, etag = len(clip.data), f'"{clip.sha256}"'
    headers = {"Accept-Ranges": "bytes", "ETag": etag, **_NO_CACHE}
    is_same = request.headers.get("If-Range", etag) == etag
    byte_range = _parse_range(request.headers.get("Range"), size) if is_same else None
    if byte_range is None:
        return web.Response(body=clip.data, content_type=_content_type(clip), headers=headers)
    if not byte_range:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {byte_range.start}-{byte_range.stop - 1}/{size}"
    piece = clip.data[byte_range.start : byte_range.stop]
    return web.Response(status=206, body=piece, content_type=_content_type(clip), headers=headers)


def _parse_range(header: str | None, size: int) -> range | None:
    """Return the bytes of a ``Range`` header (RFC 9110, section 14); empty if the file has no such bytes.

    None is the whole file: for any header other than a single range.
    """
    match = _SINGLE_RANGE.fullmatch(header or "")
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


def _content_type(clip: Clip) -> str:
    return _TYPES.get(clip.format, "application/octet-stream")
