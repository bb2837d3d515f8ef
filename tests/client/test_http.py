"""The blocking client against servers that answer in unusual ways, on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from secretd.client.errors import AccessError, RefusedError, UnreachableError
from secretd.client.http import Access, Client
from secretd.sdk.fields import Sensitive

_ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "/v1/ok": (200, {}, b'{"data": {"a": 1}}'),
    "/v1/none": (204, {}, b""),
    "/v1/text": (200, {}, b"<html>"),
    "/v1/array": (200, {}, b"[]"),
    "/v1/tls": (400, {}, b"Client sent an HTTP request to an HTTPS server.\n"),
    "/v1/no": (403, {}, b'{"errors": ["permission denied", " "], "hint": "ask ann", "code": "x"}'),
    "/v1/away": (307, {"Location": "/v1/ok"}, b""),
    "/v1/loop": (307, {"Location": "/v1/loop"}, b""),
    "/v1/what%3Fever%20x": (200, {}, b'{"data": {"found": true}}'),
    "/v1/listed?list=true": (200, {}, b'{"data": {"keys": ["k"]}}'),
}


class _Handler(BaseHTTPRequestHandler):
    """Answers by the table and keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, dict(self.headers), body))
        status, headers, answer = _ANSWERS.get(self.path, (404, {}, b'{"errors": []}'))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_PATCH = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    """A server that answers by the table; its requests are in ``_Handler.seen``."""
    _Handler.seen = []
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_answers(address: str) -> None:
    """Data, no content and a list come back; LIST is sent as GET; paths are escaped."""
    with Client(Access(address=address)) as client:
        assert client.send("GET", "/ok").data == {"a": 1}
        assert client.send("GET", "none").body == {}
        assert client.send("LIST", "listed").data == {"keys": ["k"]}
        assert client.send("GET", "what?ever x").data == {"found": True}
    assert {method for method, *_ in _Handler.seen} == {"GET"}


def test_headers_and_body(address: str) -> None:
    """Token, namespace and wrap TTL travel as headers; a look leaves the wrap TTL out; PATCH is a merge."""
    access = Access(address=address, token=Sensitive("s.x"), namespace="team", wrap_ttl="5m")
    with Client(access) as client:
        client.send("PUT", "ok", body={"k": "ü"})
        client.send("GET", "ok", wrap=False)
        client.send("PATCH", "ok", body={})
    (_, _, put, body), (_, _, look, _), (_, _, patch, _) = _Handler.seen
    assert (put["X-Vault-Token"], put["X-Vault-Namespace"], put["X-Vault-Wrap-TTL"]) == ("s.x", "team", "5m")
    assert put["X-Vault-Request"] == "true"
    assert body.decode() == '{"k":"ü"}'
    assert "X-Vault-Wrap-TTL" not in look
    assert patch["Content-Type"] == "application/merge-patch+json"


def test_refusals(address: str) -> None:
    """A refusal carries status, the server's sentences and its hint, and its text no token."""
    with Client(Access(address=address, token=Sensitive("s.hidden"))) as client:
        with pytest.raises(RefusedError) as caught:
            client.send("GET", "no")
        assert (caught.value.status, caught.value.reasons, caught.value.hint) == (
            403,
            ["permission denied"],
            "ask ann",
        )
        with pytest.raises(RefusedError) as empty:
            client.send("GET", "nowhere")
    assert empty.value.reasons == []
    assert "hidden" not in f"{caught.value!r}{caught.value}{client.access!r}"


def test_redirects(address: str) -> None:
    """A redirect is followed with method and token, a loop is given up."""
    with Client(Access(address=address, token=Sensitive("s.x"))) as client:
        assert client.send("PUT", "away", body={"k": 1}).data == {"a": 1}
        assert [(method, body) for method, _, _, body in _Handler.seen] == [("PUT", b'{"k":1}')] * 2
        with pytest.raises(UnreachableError, match="redirects"):
            client.send("GET", "loop")


@pytest.mark.parametrize("path", ["text", "array", "tls"])
def test_something_else_listens(address: str, path: str) -> None:
    """An answer that is no JSON object is no secretd server, and the hint speaks of the address."""
    with Client(Access(address=address)) as client, pytest.raises(UnreachableError) as caught:
        client.send("GET", path)
    assert "address" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "localhost:8200",
        "ftp://x",
        "http://",
        "http://[::1",
        "http://h:99999",
        "http://u:p@h",
        "http://h?x",
    ],
)
def test_addresses_that_are_none(wrong: str) -> None:
    """A malformed address is refused before anything is sent, and not quoted (it may hold a password)."""
    with Client(Access(address=wrong)) as client, pytest.raises(AccessError) as caught:
        client.send("GET", "x")
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("token", ["a\nb", "a\x00b", "ü"])
def test_tokens_that_no_header_carries(token: str) -> None:
    """A token with a line break is refused without being shown."""
    access = Access(address="http://127.0.0.1:1", token=Sensitive(token))
    with Client(access) as client, pytest.raises(AccessError) as caught:
        client.send("GET", "x")
    assert token not in str(caught.value)


def test_unix_socket(tmp_path: Path) -> None:
    """``unix:`` addresses reach a server on a socket file."""
    name = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    listener.listen()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"data": {}} ')

    thread = threading.Thread(target=answer)
    thread.start()
    with listener, Client(Access(address=f"unix:{name}")) as client:
        assert client.send("GET", "x").status == 200
        thread.join()


def test_plain_server_asked_in_tls(address: str) -> None:
    """https:// to a plain server is explained as that."""
    with (
        Client(Access(address=address.replace("http:", "https:"))) as client,
        pytest.raises(UnreachableError) as caught,
    ):
        client.send("GET", "ok")
    assert "http://" in (caught.value.hint or "")


def test_unusable_ca(tmp_path: Path) -> None:
    """A CA file that is missing or no PEM is local trouble that names the setting."""
    for file in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        tmp_path.joinpath("empty.pem").write_text("nothing")
        access = Access(address="https://127.0.0.1:1", ca_cert=file)
        with Client(access) as client, pytest.raises(AccessError) as caught:
            client.send("GET", "x")
        assert "SECRETD_CACERT" in (caught.value.hint or "")
