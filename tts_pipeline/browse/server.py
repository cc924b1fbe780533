"""The page's server: its own files, and what they ask of the dataset. It answers GET only and changes nothing."""

from __future__ import annotations

import asyncio
from asyncio import Future
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from tts_pipeline.browse.asked import read_asked
from tts_pipeline.browse.guard import guarded
from tts_pipeline.browse.ranges import asked_range
from tts_pipeline.browse.row import Place, Sound, place_of, read_row, read_sound
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.dataset.store import Store
from tts_pipeline.errors import ConfigurationError, StorageError

T = TypeVar("T")

STATIC = Path(__file__).parent / "static"
KEPT_SOUNDS = 16
"""Audio that was last asked for: a player asks for one file in several pieces."""

_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg", "opus": "audio/ogg"}
_FRESH = {"Cache-Control": "no-cache"}


class Browser:
    """A dataset as a web application.

    Args:
        store: The dataset.
        host: Where the server answers.

    Raises:
        ConfigurationError: There is no dataset.
        StorageError: It cannot be read. Blocking.
    """

    def __init__(self, store: Store, host: str) -> None:
        self._store = store
        self._host = host
        self._snapshot = Snapshot(store)
        self._sound = lru_cache(KEPT_SOUNDS)(partial(read_sound, store))

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application(middlewares=[guarded(self._host), _errors_told])
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

    async def _read_ahead(self, _: web.Application) -> None:
        """Read the rows before anybody asks; whoever asks meets the error, if there is one."""
        self._ahead = asyncio.get_running_loop().run_in_executor(None, self._snapshot.rows)
        self._ahead.add_done_callback(Future.exception)

    async def _page(self, _: web.Request) -> web.StreamResponse:
        await asyncio.to_thread(self._refresh)
        return web.FileResponse(STATIC / "index.html", headers=_FRESH)

    def _refresh(self) -> None:
        """Whoever opens the page anew sees what was published meanwhile."""
        if not self._snapshot.is_current():
            self._snapshot = Snapshot(self._store)
            self._sound.cache_clear()

    async def _dataset(self, _: web.Request) -> web.Response:
        return Told(await asyncio.to_thread(self._snapshot.facts))

    async def _rows(self, request: web.Request) -> web.Response:
        asked, snapshot = read_asked(request.query), self._snapshot

        def page() -> dict[str, Any]:
            total, rows = snapshot.page(asked)
            return {"total": total, "rows": rows}

        return Told(await asyncio.to_thread(page))

    async def _bill(self, _: web.Request) -> web.Response:
        return Told(await asyncio.to_thread(self._snapshot.bill))

    async def _row(self, request: web.Request) -> web.Response:
        place = _place(request)
        return Told(_there(await asyncio.to_thread(read_row, self._store, place)))

    async def _audio(self, request: web.Request) -> web.Response:
        place = _place(request)
        sound = _there(await asyncio.to_thread(self._sound, place))
        if sound.refusal is not None:
            return Told({"error": sound.refusal}, status=422)
        return _ranged(request, sound)


class Told(web.Response):
    """An answer in JSON: money as text, moments as ISO 8601."""

    def __init__(self, said: Any, status: int = 200) -> None:
        body = orjson.dumps(said, default=_plain)
        super().__init__(body=body, status=status, content_type="application/json", headers=_FRESH)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):  # in a column that came with the source
        return f"{len(value)} bytes"
    return str(value)


@web.middleware
async def _errors_told(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConfigurationError as error:
        return Told({"error": str(error)}, status=400)
    except StorageError as error:
        return Told({"error": str(error)}, status=503)


def _place(request: web.Request) -> Place:
    return _there(place_of(**request.match_info))


def _there(found: T | None) -> T:
    if found is None:
        raise web.HTTPNotFound(text="there is no such row\n")
    return found


def _ranged(request: web.Request, sound: Sound) -> web.Response:
    """Answer with a sound, or with the piece of it that is asked for."""
    size, etag = len(sound.data), f'"{sound.sha256}"'
    headers = {"Accept-Ranges": "bytes", "ETag": etag, **_FRESH}
    is_same = request.headers.get("If-Range", etag) == etag
    asked = asked_range(request.headers.get("Range"), size) if is_same else None
    if asked is None:
        return web.Response(body=sound.data, content_type=_type(sound), headers=headers)
    if not asked:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {asked.start}-{asked.stop - 1}/{size}"
    piece = sound.data[asked.start : asked.stop]
    return web.Response(status=206, body=piece, content_type=_type(sound), headers=headers)


def _type(sound: Sound) -> str:
    return _TYPES.get(sound.format, "application/octet-stream")
