"""aiohttp's server for our one handler: LIST understood, and nothing of a request told to log or client.

Stock aiohttp repeats a malformed header, so perhaps a token, in the body of its 400 and, with the
exception, in the ``aiohttp.server`` logger; it logs the message of any exception that a handler lets out.
Here each of these is a fixed sentence, the class of the exception and the line that raised it.
"""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.log import server_logger
from aiohttp.web_protocol import RequestHandler

from secretd.http.errors import error_answer
from secretd.http.proxy import Preamble, ProxiedObject, is_trusted
from secretd.http.verbs import VerbParser
from secretd.sdk.errors import ConfigError, InvalidRequestError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from secretd.http.proxy import Network

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# Each private or undocumented name of aiohttp 3.14 that this folder leans on.
_LEANT_ON: Final[tuple[tuple[type, tuple[str, ...]], ...]] = (
    (
        RequestHandler,
        ("_parser", "_messages", "_reading_paused", "_max_msg_queue_size", "handle_error", "force_close"),
    ),
    (
        HttpRequestParser,
        ("feed_data", "feed_eof", "pause_reading", "message_consumed", "set_upgraded"),
    ),
    (RawRequestMessage, ("_replace",)),
    (web.Server, ("_loop", "_kwargs")),
    (web.BaseSite, ("start",)),
)
_FIXED: Final = {  # what the server may do with a request, whatever a caller of VerbRunner forgets
    "access_log": None,  # audit is the record; a request line may hold what should not be logged
    "auto_decompress": False,  # a compressed body is refused, so it is never inflated
    "debug": False,
}


_OURS: Final = 500  # statuses from here on are our fault


def require_private_names() -> None:
    """Raise ConfigError if this aiohttp lacks a name that the LIST adapter needs."""
    for owner, names in _LEANT_ON:
        for name in names:
            if not hasattr(owner, name) and name not in _instance_names(owner):
                raise ConfigError(
                    f"this aiohttp has no {owner.__name__}.{name}, which the LIST verb needs",
                    hint="install the versions of requirements.lock (aiohttp 3.14)",
                )


def _instance_names(owner: type) -> tuple[str, ...]:
    """Names that ``__init__`` assigns, for a class without slots."""
    return tuple(getattr(getattr(vars(owner).get("__init__"), "__code__", None), "co_names", ()))


class QuietFilter(logging.Filter):
    """Takes arguments, messages and tracebacks of exceptions out of a record; class and line stay."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record, poorer."""
        if record.exc_info and record.exc_info[1] is not None:
            kind, _, trace = record.exc_info
            record.msg, record.args = "http.failed error=%s at=%s", (kind.__name__, _last_line(trace))
        else:  # aiohttp formats some of its texts beforehand, with a repr in them
            record.msg, record.args = "http.notice at=%s:%d", (record.module, record.lineno)
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def _last_line(trace: TracebackType | None) -> str:
    if trace is None:
        return "unknown"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"


class VerbHandler(RequestHandler):
    """One connection."""

    __slots__ = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parser: Any = VerbParser(self._parser, self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # this is the echo that must not leave
    ) -> web.StreamResponse:
        """Answer what never reached the handler, or escaped from it, without a word of ``message``."""
        if status >= _OURS:  # a malformed request is nobody's news
            self.log_exception("http.failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        error = InvalidRequestError("bad request") if status < _OURS else exc or RuntimeError()
        answer = error_answer(error, request_id=str(uuid.uuid4()))
        response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        response.force_close()
        return response


class ProxiedHandler(VerbHandler):
    """One connection that comes through a proxy and begins with a PROXY header."""

    __slots__ = ("_preamble", "_trusted", "source")

    def __init__(self, *args: Any, trusted: Sequence[Network], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trusted = trusted
        self._preamble: Preamble | None = Preamble()
        self.source: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Drop who is no trusted proxy; under TLS the header is read already."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if not isinstance(peer, tuple) or not is_trusted(str(peer[0]), self._trusted):
            self.force_close()
            return
        tls = transport.get_extra_info("ssl_object")
        if isinstance(tls, ProxiedObject):
            self.source, self._preamble = tls.preamble.source, None

    def data_received(self, data: bytes) -> None:
        """Take the header off the first bytes, then go on as any connection."""
        if self._preamble is not None:
            try:
                data = self._preamble.take(data)
            except ValueError:
                self.force_close()
                return
            if self._preamble.source is None:
                return
            self.source, self._preamble = self._preamble.source, None
        super().data_received(data)


class VerbServer(web.Server):
    """Makes the protocol of each connection: proxied if ``trusted_proxies`` is not None."""

    def __init__(self, handler: Handler, *, trusted_proxies: Sequence[Network] | None, **server: Any) -> None:
        super().__init__(handler, **server)
        self._trusted_proxies = trusted_proxies

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        if self._trusted_proxies is None:
            return VerbHandler(self, loop=self._loop, **self._kwargs)
        return ProxiedHandler(self, trusted=self._trusted_proxies, loop=self._loop, **self._kwargs)


class VerbRunner(web.ServerRunner):
    """Runs one handler for all requests. Sites are aiohttp's, or ``tls.TLSSite``.

    The handler gets a ``web.BaseRequest`` and is cancelled when its client has gone. With
    ``trusted_proxies`` every connection must begin with a PROXY header and come from one of them.
    Spans are seconds; an idle or half-sent request is dropped after ``keepalive_timeout``.
    Raises ConfigError at once if aiohttp is not the one this was built on.
    """

    __slots__ = ()

    def __init__(
        self,
        handler: Handler,
        *,
        shutdown_timeout: float = 3.0,
        keepalive_timeout: float = 300.0,
        trusted_proxies: Sequence[Network] | None = None,
        **server: Any,
    ) -> None:
        require_private_names()
        if not any(isinstance(item, QuietFilter) for item in server_logger.filters):
            server_logger.addFilter(QuietFilter())
        made = VerbServer(
            handler,
            trusted_proxies=trusted_proxies,
            handler_cancellation=True,
            keepalive_timeout=keepalive_timeout,
            **{**server, **_FIXED},
        )
        super().__init__(made, shutdown_timeout=shutdown_timeout)
