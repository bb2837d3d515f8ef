"""Whom the client trusts."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from secretd.client.errors import UnreachableError
from secretd.client.http import Access, Client


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(HTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that trusts nobody hangs up in the handshake; that is what is tested."""


def _certificate(folder: Path) -> Path:
    """Write a self-signed certificate of 127.0.0.1 with its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "server.pem"
    file.write_bytes(certificate.public_bytes(pem) + secret)
    return file


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A TLS server; yields its address and the certificate that vouches for it."""
    file = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with _Server(("127.0.0.1", 0), _Handler) as listening:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{listening.server_port}", file
        listening.shutdown()
        thread.join()


def test_an_unknown_certificate_is_refused(server: tuple[str, Path]) -> None:
    """Without its CA a server is not spoken to, and the hint names the setting."""
    with Client(Access(address=server[0])) as client, pytest.raises(UnreachableError) as caught:
        client.send("GET", "x")
    assert "not trusted" in caught.value.reason
    assert "SECRETD_CACERT" in (caught.value.hint or "")


def test_the_given_ca_is_trusted(server: tuple[str, Path]) -> None:
    """With its CA the server answers."""
    with Client(Access(address=server[0], ca_cert=server[1])) as client:
        assert client.send("GET", "x").status == 204


def test_another_name_is_refused(server: tuple[str, Path]) -> None:
    """A trusted certificate of another host is no certificate of this one."""
    address = server[0].replace("127.0.0.1", "localhost")
    with Client(Access(address=address, ca_cert=server[1])) as client, pytest.raises(UnreachableError):
        client.send("GET", "x")


def test_skip_verify(server: tuple[str, Path]) -> None:
    """Told so, the client trusts anybody."""
    with Client(Access(address=server[0], skip_verify=True)) as client:
        assert client.send("GET", "x").status == 204
