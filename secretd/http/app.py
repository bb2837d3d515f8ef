"""The HTTP face: one handler for every request. Translates, decides nothing about rights.

1. a web page's request (``Origin``) is refused before anything is parsed; in dev mode ``Host`` must be loopback
2. head, then body: large bodies only where a route declares the need and the token is good
3. the pipeline answers within the request's deadline
4. an answer that holds a lease and cannot be written ends the lease
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Sequence
from typing import Protocol

import structlog
from aiohttp import web

from secretd.core.pipeline import Pipeline
from secretd.http.decode import Head, Network, read_head, read_request
from secretd.http.envelope import encode_response
from secretd.http.errors import error_answer, is_internal
from secretd.sdk.errors import ClockError, PermissionDeniedError, SecretdError
from secretd.sdk.request import Operation, Request
from secretd.sdk.response import Response

log = structlog.get_logger()
_WITH_BODY = {Operation.UPDATE, Operation.PATCH}
SMALL_BODY = 2**20  # bytes; more only where a route says so
# The whole header: a name that only begins so ("127.0.0.1.example") is anybody's, and resolves to wherever he likes.
_LOOPBACK = re.compile(r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])(?::\d{1,5})?\Z", re.IGNORECASE | re.ASCII)


class Meter(Protocol):
    """Who counts requests."""

    def observe(self, operation: str, path: str, status: int, seconds: float) -> None:
        """One answered request."""


class App:
    """Handles requests of all listeners."""

    def __init__(
        self, pipeline: Pipeline, *, deadline: float, max_body: int, is_dev: bool, meter: Meter
    ) -> None:
        self._pipeline = pipeline
        self._deadline = deadline
        self._max_body = max_body
        self._is_dev = is_dev
        self._meter = meter

    async def handle(
        self, request: web.BaseRequest, *, trusted: Sequence[Network] = ()
    ) -> web.StreamResponse:
        """Answer one request; ``trusted``: the proxies that its listener believes."""
        began = time.perf_counter()
        head: Head | None = None
        asked: Request | None = None
        try:
            self._require_no_web_page(request)  # (1)
            head = read_head(request)
            async with asyncio.timeout(self._deadline):
                asked = await self._read(request, head, trusted)  # (2)
                response = await self._pipeline.handle(asked)  # (3)
        except TimeoutError:
            answer: web.StreamResponse = self._refuse(ClockError(), asked)
        except Exception as error:
            answer = self._refuse(error, asked)
        else:
            answer = await self._send(request, asked, response)
        operation = head.operation.value if head else "unknown"
        self._meter.observe(operation, head.path if head else "", answer.status, time.perf_counter() - began)
        return answer

    async def _read(self, request: web.BaseRequest, head: Head, trusted: Sequence[Network]) -> Request:
        length = request.content_length
        is_small = head.operation not in _WITH_BODY or (length is not None and length <= SMALL_BODY)
        limit = SMALL_BODY if is_small else await self._large(head)
        return await read_request(request, head, limit=limit, trusted=trusted)

    async def _large(self, head: Head) -> int:
        """(2) The bytes that a route may take: its token first, so that mounts are known as they are now."""
        if not await self._pipeline.is_good(head.token):
            return SMALL_BODY
        return max(SMALL_BODY, min(self._pipeline.body_limit(head.path, head.operation), self._max_body))

    async def _send(self, request: web.BaseRequest, asked: Request, response: Response) -> web.StreamResponse:
        status, body, headers = encode_response(response, asked.id)
        if request.method == "HEAD":
            body = b""
        answer = web.Response(status=status, body=body or None, headers=headers)
        if response.lease is None or response.data is None:
            return answer
        try:
            await answer.prepare(request)
            await answer.write_eof()
        except (ConnectionError, asyncio.CancelledError):  # (4)
            await self._pipeline.undelivered(response)
            raise
        return answer

    def _refuse(self, error: BaseException, asked: Request | None) -> web.Response:
        request_id = asked.id if asked else str(uuid.uuid4())
        if is_internal(error):
            code = error.code if isinstance(error, SecretdError) else type(error).__name__
            log.error("request.failed", request_id=request_id, error=code, where=_where(error))
        answer = error_answer(error, request_id=request_id)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def _require_no_web_page(self, request: web.BaseRequest) -> None:
        if "Origin" in request.headers:
            raise PermissionDeniedError(
                "requests from web pages are refused", hint="sys/config/cors does not list this origin"
            )
        if self._is_dev and not _LOOPBACK.match(request.host):
            raise PermissionDeniedError("in dev mode the Host header must be loopback")


def _where(error: BaseException) -> str:
    """File and line of an unexpected error: never its text, which may hold a value."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next
    return place
