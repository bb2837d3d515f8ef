"""Listeners hand requests on, each with its own trust."""

from __future__ import annotations

import ipaddress
from typing import Any

import aiohttp
from aiohttp import web

from secretd.server.config_schema import ListenAddress, Listener, Networks
from secretd.server.listeners import Listeners
from support.daemons import free_port


class _App:
    """Notes what it was told to believe."""

    def __init__(self) -> None:
        self.believed: list[tuple[Any, ...]] = []

    async def handle(self, _request: web.BaseRequest, *, trusted: Any = ()) -> web.StreamResponse:
        self.believed.append(tuple(trusted))
        return web.Response()


async def _metrics() -> tuple[bytes, str]:
    return b"", "text/plain"


async def test_a_proxy_is_believed_by_its_own_listener_alone() -> None:
    """Who may name the client on one listener is nobody on another, with open metrics or without."""
    near = Networks([ipaddress.ip_network("127.0.0.0/8")])
    ports = [free_port() for _ in range(3)]
    address = [ListenAddress(host="127.0.0.1", port=port) for port in ports]
    made = [
        Listener(address=address[0], tls="off"),
        Listener(address=address[1], tls="off", trusted_proxies=near),
        Listener(address=address[2], tls="off", trusted_proxies=near, unauthenticated_metrics=True),
    ]
    app: Any = _App()
    async with Listeners(made, app, _metrics) as listeners, aiohttp.ClientSession() as session:
        await listeners.open()
        for port in ports:
            async with session.get(f"http://127.0.0.1:{port}/v1/sys/health"):
                pass
    assert app.believed == [(), tuple(near), tuple(near)]
