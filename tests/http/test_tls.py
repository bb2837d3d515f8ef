"""Properties of TLS listeners, on real handshakes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from secretd.http import openssl
from secretd.http.openssl import make_accepting_context
from secretd.http.runner import VerbRunner
from secretd.http.tls import TLSSite, peer_chain, reload_context, server_context
from secretd.sdk.errors import ConfigError
from support.certificates import Folder, key_pem, make_folder, new_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
STRANGERS = ("self", "expired", "future", "leaf", "serveronly", "rsa", "badname")
NOT_SERVED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Servers, strangers of every kind, a CA with an intermediate, and a thief."""
    return make_folder(tmp_path_factory.mktemp("tls"))


async def who(request: web.BaseRequest) -> web.Response:
    """Say what was shown."""
    chain = [hashlib.sha256(der).hexdigest() for der in peer_chain(request.transport)]
    return web.json_response({"method": request.method, "chain": chain})


def context_of(folder: Folder, client_certs: str = "request", **options: Any) -> ssl.SSLContext:
    return server_context(folder.cert("server"), folder.key("server"), client_certs=client_certs, **options)


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext, *, handshake_timeout: float = 10.0) -> AsyncIterator[int]:
    runner = VerbRunner(who)
    await runner.setup()
    site = TLSSite(runner, "127.0.0.1", port=0, context=context, handshake_timeout=handshake_timeout)
    await site.start()
    try:
        yield site.port
    finally:
        await runner.cleanup()


def client_context(folder: Folder, name: str | None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder.path / "servers.pem")
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if name is not None:
        context.load_cert_chain(folder.cert(name), folder.key(name))
    return context


async def ask(port: int, context: ssl.SSLContext, *, verb: str = "GET") -> tuple[dict[str, Any], bytes]:
    """One request on a connection of its own: the answer and the server's certificate."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    try:
        writer.write(f"{verb} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
        if not body:
            raise ConnectionResetError
        return json.loads(body), writer.get_extra_info("ssl_object").getpeercert(True)
    finally:
        writer.close()
        with contextlib.suppress(*NOT_SERVED):
            await writer.wait_closed()


@pytest.mark.parametrize("version", VERSIONS)
async def test_any_certificate_reaches_the_handler(folder: Folder, version: ssl.TLSVersion) -> None:
    """With "request" a client without a certificate and with any kind of one is served, its chain seen whole."""
    async with serving(context_of(folder)) as port:
        for name in (None, *STRANGERS):
            said, _ = await ask(port, client_context(folder, name, version), verb="LIST")
            assert said == {"method": "LIST", "chain": folder.digests(name)}, name


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client_certs", ["request", "require"])
async def test_a_certificate_without_its_key_is_refused(
    folder: Folder, client_certs: str, version: ssl.TLSVersion
) -> None:
    """Somebody else's certificate, signed for with another key, never reaches the handler."""
    async with serving(context_of(folder, client_certs)) as port:
        with pytest.raises(NOT_SERVED):
            await ask(port, client_context(folder, "forged", version))
        said, _ = await ask(port, client_context(folder, "leaf", version))
        assert said["chain"] == folder.digests("leaf")


@pytest.mark.parametrize(
    ("client_certs", "with_ca", "served"),
    [
        ("none", False, {None: False, "self": False, "leaf": False}),
        ("request", False, {None: True, "self": True, "leaf": True}),
        ("request", True, {None: True, "leaf": True}),
        ("require", False, {"self": True, "leaf": True}),
        ("require", True, {"leaf": True}),
    ],
)
async def test_the_modes_are_what_the_table_says(
    folder: Folder, client_certs: str, with_ca: bool, served: dict[str | None, bool]
) -> None:
    """Each mode serves whom the module's table says, and shows chains only where it asks for them."""
    client_ca = folder.cert("root") if with_ca else None
    async with serving(context_of(folder, client_certs, client_ca=client_ca)) as port:
        for version in VERSIONS:
            for name in (None, "self", "leaf"):
                asking = ask(port, client_context(folder, name, version))
                if name not in served:
                    with pytest.raises(NOT_SERVED):
                        await asking
                else:
                    assert (await asking)[0]["chain"] == (folder.digests(name) if served[name] else [])


async def test_a_reload_changes_the_certificate_of_new_connections(folder: Folder) -> None:
    """After a reload of the live context a new connection sees the new certificate, and chains still show."""
    context = context_of(folder)
    async with serving(context) as port:
        client = client_context(folder, "self")
        assert (await ask(port, client))[1] == folder.chains["server"][0]
        reload_context(context, folder.cert("server2"), folder.key("server2"))
        said, shown = await ask(port, client)
    assert (said["chain"], shown) == (folder.digests("self"), folder.chains["server2"][0])


async def test_a_failed_reload_leaves_the_old_pair(folder: Folder) -> None:
    """A certificate with the wrong key is refused at reload, and the listener goes on with the old pair."""
    context = context_of(folder)
    async with serving(context) as port:
        with pytest.raises(ConfigError, match="does not belong"):
            reload_context(context, folder.cert("server2"), folder.key("self"))
        assert (await ask(port, client_context(folder, None)))[1] == folder.chains["server"][0]


async def test_no_session_is_resumed(folder: Folder) -> None:
    """A client that offers its old session gets a full handshake, in which its chain is seen again."""

    def run(port: int, version: ssl.TLSVersion) -> None:
        context, session = client_context(folder, "leaf", version), None
        for _ in range(3):
            raw = socket.create_connection(("127.0.0.1", port), timeout=10)
            with context.wrap_socket(raw, server_hostname="localhost", session=session) as tls:
                assert not tls.session_reused
                tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: tls.recv(65536), b""))
                assert json.loads(answer.partition(b"\r\n\r\n")[2])["chain"] == folder.digests("leaf")
                session = tls.session

    async with serving(context_of(folder)) as port:
        for version in VERSIONS:
            await asyncio.to_thread(run, port, version)


async def test_silent_handshakes_end(folder: Folder) -> None:
    """A client that says nothing, or half a hello, is let go after the time-out; others are served meanwhile."""
    async with serving(context_of(folder), handshake_timeout=0.3) as port, asyncio.timeout(10):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        silent[1][1].write(b"\x16\x03\x01")
        await ask(port, client_context(folder, "self"))
        for reader, writer in silent:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()


async def test_contexts_do_not_mix(folder: Folder) -> None:
    """Contexts made in several threads at once are each their own, and a stock one beside them stays strict."""
    made: list[ssl.SSLContext] = []
    stop = threading.Event()

    def others() -> None:
        while not stop.is_set():
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def maker() -> None:
        made.extend(make_accepting_context() for _ in range(10))

    noise = threading.Thread(target=others)
    makers = [threading.Thread(target=maker) for _ in range(3)]
    for thread in (noise, *makers):
        thread.start()
    for thread in makers:
        await asyncio.to_thread(thread.join)
    stop.set()
    noise.join()
    assert len(made) == 30
    async with serving(context_of(folder, "request", client_ca=folder.cert("root"))) as port:
        with pytest.raises(NOT_SERVED):
            await ask(port, client_context(folder, "self"))


async def test_the_least_version_is_kept(folder: Folder) -> None:
    """With tls_min_version 1.3 a TLS 1.2 client is refused."""
    async with serving(context_of(folder, min_version="1.3")) as port:
        with pytest.raises(NOT_SERVED):
            await ask(port, client_context(folder, None, ssl.TLSVersion.TLSv1_2))
        await ask(port, client_context(folder, None))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "version": ({"min_version": "1.1"}, "tls_min_version"),
    "mode": ({"client_certs": "maybe"}, "client_certs"),
    "ca without asking": ({"client_certs": "none", "client_ca": "root.crt"}, "client_ca"),
    "no certificate file": ({"cert": "gone.crt"}, "tls_cert"),
    "certificate is no PEM": ({"cert": "text"}, "tls_cert"),
    "another key": ({"key": "self.key"}, "does not belong"),
    "encrypted key": ({"key": "sealed.key"}, "tls_key is encrypted"),
    "no CA file": ({"client_ca": "gone.crt"}, "client_ca"),
    "CA is no PEM": ({"client_ca": "text"}, "client_ca"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named(folder: Folder, name: str) -> None:
    """Each wrong setting or file is a ConfigError that names the key; a password is never asked for."""
    (folder.path / "text").write_text("canary")
    (folder.path / "sealed.key").write_bytes(key_pem(new_key(), b"canary"))
    changes, names = WRONG[name]
    options: dict[str, Any] = {
        "cert": "server.crt",
        "key": "server.key",
        "client_certs": "request",
        **changes,
    }
    for file in ("cert", "key", "client_ca"):
        if file in options:
            options[file] = folder.path / options[file]
    with pytest.raises(ConfigError, match=names) as refusal:
        server_context(options.pop("cert"), options.pop("key"), **options)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize("trouble", ["symbols", "two libraries", "no report"])
def test_an_unfit_ssl_is_refused(monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    """A Python whose ssl cannot be proved to be the one we would change is refused with a way out."""
    match trouble:
        case "symbols":
            monkeypatch.setattr(openssl, "_declare", lambda library: library.no_such_symbol)
        case "two libraries":
            monkeypatch.setattr(ssl, "OPENSSL_VERSION", "OpenSSL 0")
        case _:
            monkeypatch.setattr(openssl, "_REPORT", openssl._NewExData(lambda *_: None))
    with pytest.raises(ConfigError) as refusal:
        make_accepting_context()
    assert "client_ca" in (refusal.value.hint or "")
