"""Answer the requests of the ledger's page: its files and its bill, GET only, without changing anything."""

from __future__ import annotations

import asyncio
from asyncio import Future

from aiohttp import web

from tts_pipeline.browse.app import STATIC, JsonResponse, errors_as_json, page_response
from tts_pipeline.browse.budgets import BudgetReader
from tts_pipeline.browse.guard import guard_middleware
from tts_pipeline.browse.ledger_bill import LedgerBill
from tts_pipeline.browse.months import Selection
from tts_pipeline.browse.savings import ledger_saved
from tts_pipeline.ledger import Ledger


class LedgerApp:
    """A ledger as a web application.

    Args:
        ledger: The ledger.
        bill: Its bill.
        place: The ledger's path or URL, without passwords.
        budgets: Returns the budgets.
        host: The name or address on which the server answers.
    """

    def __init__(self, ledger: Ledger, bill: LedgerBill, place: str, budgets: BudgetReader, host: str) -> None:
        self._ledger = ledger
        self._bill = bill
        self._place = place
        self._budgets = budgets
        self._host = host

    def application(self) -> web.Application:
        """Return the application with its routes and middlewares."""
        application = web.Application(middlewares=[guard_middleware(self._host), errors_as_json])
        application.add_routes(
            [web.get("/", self._page), web.get("/api/bill", self._figures), web.static("/static", STATIC)]
        )
        application.on_startup.append(self._read_ahead)
        return application

    async def _read_ahead(self, _: web.Application) -> None:
        """Add up the current month before the first request; an error is raised again by the request."""
        self._preload = asyncio.get_running_loop().run_in_executor(None, self._bill.figures)
        self._preload.add_done_callback(Future.exception)

    async def _page(self, _: web.Request) -> web.StreamResponse:
        return page_response("ledger.html")

    async def _figures(self, request: web.Request) -> web.Response:
        month, timezone = request.query.get("month") or None, request.query.get("timezone") or None
        figures, budgets = await asyncio.gather(
            asyncio.to_thread(self._bill.figures, month, timezone), asyncio.to_thread(self._budgets)
        )
        selection = Selection(figures["month"], figures["timezone"])
        saved = await asyncio.to_thread(ledger_saved, self._ledger, selection)
        return JsonResponse({**figures, "place": self._place, "saved": saved, "budgets": budgets})
