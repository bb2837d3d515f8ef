"""Properties of the PROXY protocol: read exactly, believed only from proxies."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from secretd.http.proxy import Preamble, client_address, is_trusted, parse_header
from secretd.http.runner import VerbRunner
from secretd.http.tls import TLSSite, peer_chain, server_context
from support.certificates import make_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PORTS = (4711).to_bytes(2, "big") + (443).to_bytes(2, "big")
V4 = SIGNATURE + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 127, 0, 0, 1]) + PORTS
V6 = SIGNATURE + b"\x21\x21\0\x24" + ipaddress.ip_address("2001:db8::7").packed + bytes(16) + PORTS
LINE = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n"
REQUEST = b"LIST /v1/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
HEADERS = {
    "v2 over IPv4": (V4, "192.0.2.7"),
    "v2 over IPv6": (V6, "2001:db8::7"),
    "v2 with extensions": (V4[:15] + b"\x10" + V4[16:] + b"\x04\0\x01x", "192.0.2.7"),
    "v2 local": (SIGNATURE + b"\x20\0\0\0", ""),
    "v2 over a Unix socket": (SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), ""),
    "v1": (LINE, "192.0.2.7"),
    "v1 over IPv6": (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", "2001:db8::7"),
    "v1 unknown": (b"PROXY UNKNOWN ff 1 2\r\n", ""),
}
MALFORMED = (
    b"GET / HTTP/1.1\r\n",
    b"PROXX",
    b"PROXY TCP4 192.0.2.7\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP4 localhost 127.0.0.1 1 2\r\n",
    b"PROXY TCP4 \xff 127.0.0.1 1 2\r\n",
    b"PROXY " + b"x" * 200,
    SIGNATURE + b"\x11\x11\0\x0c" + bytes(12),
    SIGNATURE + b"\x22\x11\0\x0c" + bytes(12),
    SIGNATURE + b"\x21\x11\0\x04" + bytes(4),
    SIGNATURE + b"\x21\x11\xff\xff",
    b"\x16\x03\x01\x02\x00",
)


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_is_read_wherever_it_is_cut(name: str) -> None:
    """Every prefix of a header asks for more; the whole gives its source and leaves what follows."""
    header, source = HEADERS[name]
    for end in range(len(header)):
        assert parse_header(header[:end]) is None
    assert parse_header(header + b"more") == (source, len(header))
    preamble = Preamble()
    assert b"".join(preamble.take(bytes([byte])) for byte in header + b"more") == b"more"
    assert preamble.source == source


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    """Malformed headers, and anything else in their place, are a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        parse_header(data)


def test_only_listed_networks_are_trusted() -> None:
    """A peer is trusted by network, an IPv4 address in IPv6 form as the IPv4 one, and text never."""
    assert is_trusted("127.9.9.9", LOOPBACK)
    assert is_trusted("::ffff:127.0.0.1", LOOPBACK)
    assert not is_trusted("::1", LOOPBACK)
    assert not is_trusted("192.0.2.1", LOOPBACK)
    assert not is_trusted("", LOOPBACK)
    assert not is_trusted("127.0.0.1", ())


async def who(request: web.BaseRequest) -> web.Response:
    """Say who asked."""
    chain = peer_chain(request.transport)
    return web.json_response({"from": client_address(request), "method": request.method, "chain": len(chain)})


@contextlib.asynccontextmanager
async def serving(
    context: ssl.SSLContext | None = None, *, trusted: str = "127.0.0.0/8"
) -> AsyncIterator[int]:
    runner = VerbRunner(who, trusted_proxies=(ipaddress.ip_network(trusted),))
    await runner.setup()
    site = (
        TLSSite(runner, "127.0.0.1", port=0, context=context)
        if context
        else web.TCPSite(runner, "127.0.0.1", 0)
    )
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def body_of(answer: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


async def send(port: int, *packets: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            for _ in range(20):
                await asyncio.sleep(0)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("header", [V4, LINE])
async def test_a_trusted_proxys_word_is_the_client_address(header: bytes) -> None:
    """In clear, the header's source is the client, however the packets are cut; without it nobody is served."""
    async with serving() as port:
        for cut in (0, 1, 15, len(header), len(header) + 3):
            whole = header + REQUEST
            assert body_of(await send(port, whole[:cut], whole[cut:]))["from"] == "192.0.2.7"
        assert await send(port, REQUEST) == b""


async def test_anybody_elses_word_is_not_heard() -> None:
    """A header from a peer outside trusted_proxies ends the connection."""
    async with serving(trusted="192.0.2.0/24") as port:
        assert await send(port, V4 + REQUEST) == b""


@pytest.mark.parametrize("client_certs", ["none", "request"])
async def test_the_header_may_precede_tls(tmp_path: Path, client_certs: str) -> None:
    """Before a TLS hello the header is taken off too, and certificates still reach the handler."""
    made = make_folder(tmp_path)
    cert, key = made.cert("server"), made.key("server")
    context = server_context(cert, key, client_certs=client_certs, proxied=True)
    client = ssl.create_default_context(cafile=cert)
    client.load_cert_chain(cert, key)

    def ask(port: int, cut: int) -> bytes:
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.sendall(V4[:cut])
        raw.sendall(V4[cut:])
        with client.wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(REQUEST)
            return b"".join(iter(lambda: tls.recv(65536), b""))

    async with serving(context) as port:
        for cut in (0, 1, 15, 27):
            said = body_of(await asyncio.to_thread(ask, port, cut))
            assert said == {"from": "192.0.2.7", "method": "LIST", "chain": int(client_certs != "none")}
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
