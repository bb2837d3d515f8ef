"""The listeners of the configuration: opened, closed, and their TLS files read again on SIGHUP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web

from secretd.http.app import App
from secretd.http.envelope import COMMON_HEADERS
from secretd.http.runner import VerbRunner
from secretd.http.tls import TLSSite, reload_context, server_context
from secretd.sdk.errors import ConfigError
from secretd.server.config_schema import Listener

log = structlog.get_logger()
_METRICS = "/v1/sys/metrics"
_DRAIN = 3.0  # seconds that requests under way get when the daemon stops


class Listeners:
    """An async context manager: takes requests from ``open`` to its end."""

    def __init__(
        self, listeners: Sequence[Listener], app: App, scrape: Callable[[], Awaitable[tuple[bytes, str]]]
    ) -> None:
        self._listeners = listeners
        self._app = app
        self._scrape = scrape
        self._runners: list[VerbRunner] = []
        self._contexts: list[tuple[Listener, ssl.SSLContext]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for runner in self._runners:
                group.create_task(runner.cleanup())

    async def open(self) -> None:
        """Begin to listen. ConfigError if an address or a TLS file cannot be used."""
        for listener in self._listeners:
            trusted = listener.trusted_proxies if listener.proxy_protocol else None
            believing = partial(self._app.handle, trusted=listener.trusted_proxies)
            handler = partial(self._or_metrics, believing) if listener.unauthenticated_metrics else believing
            runner = VerbRunner(handler, shutdown_timeout=_DRAIN, trusted_proxies=trusted)
            await runner.setup()
            self._runners.append(runner)
            try:
                await self._site(listener, runner).start()
            except OSError as error:
                raise ConfigError(
                    f"listener: {listener.address} cannot be listened on: {(error.strerror or 'failed').lower()}",
                    hint="is another daemon running there?",
                ) from None
            log.info("listener.open", address=str(listener.address), tls=listener.has_tls)

    async def _or_metrics(
        self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], request: web.BaseRequest
    ) -> web.StreamResponse:
        """A listener that says so serves its metrics to whoever asks without a token."""
        if request.raw_path != _METRICS or request.method != "GET" or "X-Vault-Token" in request.headers:
            return await handle(request)
        text, kind = await self._scrape()
        return web.Response(body=text, headers={"Content-Type": kind, **COMMON_HEADERS})

    def reload(self) -> None:
        """Read certificates and keys again; a bad pair leaves the old one in use."""
        for listener, context in self._contexts:
            if listener.tls_cert is None or listener.tls_key is None:
                continue
            try:
                reload_context(context, listener.tls_cert, listener.tls_key, client_ca=listener.client_ca)
            except ConfigError as error:
                log.error("listener.reload_failed", address=str(listener.address), reason=error.message)
            else:
                log.info("listener.reloaded", address=str(listener.address))

    def _site(self, listener: Listener, runner: VerbRunner) -> web.BaseSite:
        address = listener.address
        if address.is_unix:
            Path(address.path).unlink(missing_ok=True)
            return web.UnixSite(runner, address.path)
        context = _context(listener)
        if context is None:
            return web.TCPSite(runner, address.host, address.port)
        self._contexts.append((listener, context))
        return TLSSite(runner, address.host, port=address.port, context=context)


def require_tls_files(listener: Listener) -> None:
    """Raise ConfigError unless the listener's TLS files can be used; nothing is opened to anybody."""
    _context(listener)


def _context(listener: Listener) -> ssl.SSLContext | None:
    if listener.tls_cert is None or listener.tls_key is None:
        return None
    return server_context(
        listener.tls_cert,
        listener.tls_key,
        min_version=listener.tls_min_version,
        client_certs=listener.client_certs,
        client_ca=listener.client_ca,
        proxied=listener.proxy_protocol,
    )
