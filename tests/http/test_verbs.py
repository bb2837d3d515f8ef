"""Properties of the LIST verb on real connections, and of what aiohttp may say about them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.log import server_logger

from secretd.http import runner as runner_module
from secretd.http.body import read_object
from secretd.http.errors import error_answer
from secretd.http.runner import VerbRunner, require_private_names
from secretd.sdk.errors import ConfigError, SecretdError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = b" HTTP/1.1\r\nHost: x\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
LENGTH = b"Content-Length: 3\r\n"
NEXT = b"LIST /b" + HOST + b"\r\n"
TRICKS = (
    b"LIST ",
    b"LIST /v1/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\r\nLIST /evil HTTP/1.1\r\nHost: x\r\n\r\n",
    b"0\r\n\r\nLIST /e HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n\r\n",
    b"LINK ",
    b"LIS",
    b"L",
    b"\r",
    b"\n",
)


async def echo(request: web.BaseRequest) -> web.Response:
    """Say what arrived; slowly and in small reads under /slow."""
    body = bytearray()
    if request.raw_path.startswith("/slow"):
        await asyncio.sleep(0)
        while piece := await request.content.read(700):
            body += piece
    elif request.raw_path.startswith("/body"):
        try:
            return web.json_response(await read_object(request, limit=1000))
        except SecretdError as error:
            answer = error_answer(error)
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    elif request.raw_path.startswith("/fail"):
        raise ValueError("canary")
    else:
        body += await request.read()
    return web.json_response(described(request.method, request.raw_path, bytes(body)))


def described(method: str, path: str, body: bytes) -> dict[str, Any]:
    return {"method": method, "path": path, "size": len(body), "digest": hashlib.sha256(body).hexdigest()}


@contextlib.asynccontextmanager
async def serving(**server: Any) -> AsyncIterator[int]:
    runner = VerbRunner(echo, **server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)).decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), fields, await reader.readexactly(int(fields.get("content-length", 0)))


async def exchange(port: int, *packets: bytes, answers: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    """Send each packet by itself and read answers until there are enough or the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found: list[tuple[int, dict[str, str], bytes]] = []
    try:
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            for _ in range(20):  # turns of the loop, so that the packets stay apart
                await asyncio.sleep(0)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while len(found) < answers:
                found.append(await read_answer(reader))
    finally:
        writer.close()
    return found


def random_body(rnd: random.Random, *, large: bool) -> bytes:
    body = b"".join(rnd.choice(TRICKS) for _ in range(rnd.randrange(6)))
    return body + (rnd.randbytes(rnd.randrange(200_000)) + rnd.choice(TRICKS) if large else b"")


def in_chunks(rnd: random.Random, body: bytes) -> bytes:
    raw, pos = bytearray(), 0
    while pos < len(body):
        size = rnd.choice((1, 2, 3, 17, 64, 4096) if len(body) < 2000 else (4096, 65_536))
        piece = body[pos : pos + size]
        raw += b"%x%s\r\n%s\r\n" % (len(piece), rnd.choice((b"", b";x=LIST")), piece)
        pos += size
    return bytes(raw) + b"0\r\n" + rnd.choice((b"", b"X-Trailer: LIST /a\r\n")) + b"\r\n"


def random_request(rnd: random.Random, number: int, *, large: bool) -> tuple[bytes, dict[str, Any]]:
    method = rnd.choice(("GET", "LIST", "LIST", "LIST", "POST", "PUT", "LINK", "DELETE"))
    path = f"{rnd.choice(('/slow/', '/v1/', '/LIST%20/'))}{number}"
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        *(["X-T: LIST /v1/x HTTP/1.1"] if rnd.random() < 0.3 else []),
    ]
    body, raw = b"", b""
    match rnd.choice(("none", "length", "chunked", "zero")):
        case "length":
            body = raw = random_body(rnd, large=large)
            lines.append(f"Content-Length: {len(body)}")
        case "chunked":
            body = random_body(rnd, large=large)
            raw = in_chunks(rnd, body)
            lines.append("Transfer-Encoding: chunked")
        case "zero":
            lines.append("Content-Length: 0")
    head = b"\r\n" * rnd.choice((0, 0, 0, 1, 2)) + "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head + raw, described(method, path, body)


def random_packets(rnd: random.Random, requests: list[bytes]) -> list[bytes]:
    whole = b"".join(requests)
    match rnd.choice(("whole", "bytes", "random", "requests")):
        case "whole":
            return [whole]
        case "requests":
            return requests
        case "bytes" if len(whole) < 1500:
            return [whole[pos : pos + 1] for pos in range(len(whole))]
    packets, pos = [], 0
    while pos < len(whole):
        size = rnd.choice((1, 2, 3, 4, 7, 50, 200) if len(whole) < 50_000 else (7, 1000, 70_000))
        packets.append(whole[pos : pos + size])
        pos += size
    return packets


async def one_connection(port: int, seed: int, *, large: bool) -> None:
    rnd = random.Random(seed)
    count = rnd.choice((1, 3, 6) if large else (1, 2, 3, 8, 60))
    made = [random_request(rnd, number, large=large) for number in range(count)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        for packet in random_packets(rnd, [raw for raw, _ in made]):
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0)

    sending = asyncio.create_task(send())
    try:
        for _, expected in made:
            status, _, body = await read_answer(reader)
            assert (status, json.loads(body)) == (200, expected), seed
        await sending
    finally:
        sending.cancel()
        writer.close()


async def test_random_connections_keep_their_requests_apart() -> None:
    """On random pipelined connections, cut anywhere, every method, path and body arrives as it was sent."""
    async with serving() as port, asyncio.timeout(120):
        for start in range(0, 160, 8):
            async with asyncio.TaskGroup() as group:
                for seed in range(start, start + 8):
                    group.create_task(one_connection(port, seed, large=seed % 8 == 0))


REFUSED = {
    "another verb": (b"GLIST /a" + HOST + b"\r\n",),
    "a verb that goes on": (b"LISTX /a" + HOST + b"\r\n",),
    "lower case": (b"list /a" + HOST + b"\r\n",),
    "a tab": (b"LIST\t/a" + HOST + b"\r\n",),
    "cut before a false verb": (b"G", b"LIST /a" + HOST + b"\r\n"),
    "length and chunks": (
        b"POST /a" + HOST + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + NEXT,
    ),
    "two lengths": (b"POST /a" + HOST + LENGTH + b"Content-Length: 5\r\n\r\nabc" + NEXT,),
    "a signed length": (b"POST /a" + HOST + b"Content-Length: +3\r\n\r\nabc" + NEXT,),
    "bare line feeds": (b"GET /a HTTP/1.1\nHost: x\n\n" + NEXT,),
    "a bare line feed at the end": (b"GET /a HTTP/1.1\r\nHost: x\r\n\n" + NEXT,),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_not_a_list_request_is_refused(name: str) -> None:
    """Look-alikes and ambiguous framing get one 400, and what follows them is never served."""
    async with serving() as port:
        answers = await exchange(port, *REFUSED[name], answers=3)
    assert [status for status, _, _ in answers] == [400]


SERVED: dict[str, tuple[tuple[bytes, ...], list[str]]] = {
    "cut in the verb": ((b"LI", b"ST /a" + HOST + b"\r\n"), ["LIST"]),
    "LINK stays": ((b"LI", b"NK /a" + HOST + b"\r\nLINK /b" + HOST + b"\r\n"), ["LINK", "LINK"]),
    "a path ending in the verb": ((b"GET /", b"LIST HTTP/1.1\r\nHost: x\r\n\r\n"), ["GET"]),
    "a declined upgrade": (
        (b"GET /a" + HOST + UPGRADE, b"LI", NEXT[2:]),
        ["GET", "LIST"],
    ),
    "more than the queue holds": (((b"LIST /slow/1" + HOST + b"\r\n") * 200,), ["LIST"] * 200),
    "blank lines": ((b"GET /a" + HOST + b"\r\n", b"\r\n\r", b"\n" + NEXT), ["GET", "LIST"]),
    "HTTP/1.0": ((b"LIST /a HTTP/1.0\r\n\r\n",), ["LIST"]),
}


@pytest.mark.parametrize("name", SERVED)
async def test_list_is_served_where_a_request_begins(name: str) -> None:
    """A LIST at a proven beginning is served as LIST, whatever came before and wherever it is cut."""
    packets, methods = SERVED[name]
    async with serving() as port:
        answers = await exchange(port, *packets, answers=len(methods))
    assert [json.loads(body)["method"] for _, _, body in answers] == methods


async def test_a_malformed_header_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A token in a malformed header is in neither the 400 nor the log, and the 400 is Vault-shaped."""
    caplog.set_level(logging.DEBUG)
    async with serving() as port:
        bad = b"GET /v1/a" + HOST + b"X-Vault-Token: hvs.canary\x00\r\n\r\n"
        for packets in ((bad,), (b"LIST /a" + HOST + b"\r\n", bad)):
            status, fields, body = (await exchange(port, *packets, answers=2))[-1]
            assert (status, fields["content-type"]) == (400, "application/json")
            assert json.loads(body)["errors"] == ["bad request"]
            assert json.loads(body)["request_id"]
            assert b"canary" not in body
    assert "canary" not in caplog.text


async def test_an_escaped_exception_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that leaves the handler is `internal error` to the client, its class and line to the log."""
    async with serving() as port:
        [(status, _, body)] = await exchange(port, b"GET /fail" + HOST + b"\r\n")
    assert (status, json.loads(body)["errors"]) == (500, ["internal error"])
    assert "error=ValueError at=echo:" in caplog.text
    assert "canary" not in caplog.text


async def test_the_filter_empties_any_record(caplog: pytest.LogCaptureFixture) -> None:
    """Arguments and ready-made texts on aiohttp's logger are replaced by the place they came from."""
    VerbRunner(echo)
    server_logger.error("canary %s", "canary")
    server_logger.error("canary")
    assert "http.notice" in caplog.text
    assert "canary" not in caplog.text


def post(headers: bytes, body: bytes, *, method: bytes = b"POST") -> bytes:
    return method + b" /body" + HOST + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


PATCHED = b"Content-Type: application/merge-patch+json\r\n"
BODIES: dict[str, tuple[bytes, int]] = {
    "object": (post(b"", b'{"a":1}'), 200),
    "empty form": (post(b"Content-Type: application/x-www-form-urlencoded\r\n", b""), 200),
    "text": (post(b"Content-Type: text/plain\r\n", b'{"a":1}'), 200),
    "identity": (post(b"Content-Encoding: identity\r\n", b'{"a":1}'), 200),
    "gzip": (post(b"Content-Encoding: gzip\r\n", gzip.compress(b'{"a":1}')), 415),
    "bomb": (post(b"Content-Encoding: gzip\r\n", gzip.compress(b"0" * 2_000_000)), 415),
    "patch": (post(PATCHED, b'{"a":1}', method=b"PATCH"), 200),
    "patch as json": (post(b"Content-Type: application/json\r\n", b'{"a":1}', method=b"PATCH"), 415),
    "announced too large": (post(b"", b"x" * 1001), 413),
    "too large in chunks": (
        b"POST /body" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        413,
    ),
    "largest": (post(b"", b'{"a":"' + b"x" * 992 + b'"}'), 200),
}


@pytest.mark.parametrize("name", BODIES)
async def test_bodies_are_read_with_limits(name: str) -> None:
    """Size, encoding and PATCH's media type are judged as documented, on the wire."""
    packet, expected = BODIES[name]
    async with serving() as port:
        [(status, _, _)] = await exchange(port, packet)
    assert status == expected


def test_another_aiohttp_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start-up names the aiohttp name that is missing and says what to do."""
    require_private_names()
    monkeypatch.setattr(runner_module, "_LEANT_ON", ((web.Server, ("_gone",)),))
    with pytest.raises(ConfigError, match=r"Server\._gone") as refusal:
        VerbRunner(echo)
    assert "aiohttp 3.14" in (refusal.value.hint or "")
