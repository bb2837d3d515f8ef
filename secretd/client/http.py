"""A blocking client on the standard library: what the command line and ``run`` need, in 80 ms of start-up.

One :class:`Client` holds one connection and is used by one thread. Paths are given without ``/v1/``
and unescaped. ``LIST`` travels as ``GET ?list=true``, which every proxy lets through.

Errors are those of :mod:`secretd.client.errors`: RefusedError when the server said no, UnreachableError
when nothing that can be understood came back, AccessError when the address, the token or the CA file
cannot be used at all. None of them holds the token or a body that was sent.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from secretd.client.errors import AccessError, RefusedError, UnreachableError, make_unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from secretd.sdk.fields import Sensitive

_PATH_SAFE = "/:@!$&'()*+,;=~"
_REDIRECTS = frozenset({301, 302, 307, 308})
_MAX_HOPS = 3
_VERBS = {"LIST": "GET"}


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where the server is and who asks. ``timeout`` is in seconds, for each read of the socket."""

    address: str
    token: Sensitive | None = None
    namespace: str = ""
    ca_cert: Path | None = None
    skip_verify: bool = False
    wrap_ttl: str = ""
    timeout: float = 120.0

    @property
    def socket_path(self) -> str:
        """The file of a ``unix:/path`` or ``unix:///path`` address, else an empty text."""
        return (
            self.address.removeprefix("unix:").removeprefix("//") if self.address.startswith("unix:") else ""
        )


@dataclass(frozen=True)
class Answer:
    """A success, or the refusal inside a :class:`RefusedError`. ``body`` is ``{}`` for a 204."""

    status: int
    body: dict[str, Any] = field(repr=False)
    raw: bytes = field(repr=False)

    @property
    def data(self) -> dict[str, Any]:
        """The envelope's ``data``; ``{}`` where it is absent or no object."""
        found = self.body.get("data")
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request as it will be sent: method, target with query, headers (token included) and body."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


class Client:
    """Sends requests to one server over one kept connection. A context manager."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._connection: http.client.HTTPConnection | None = None
        self._origin = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if one is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str | list[str]] | None = None,
        wrap: bool = True,
    ) -> Answer:
        """Send and return the answer of any 2xx; raise an error of the module otherwise.

        ``wrap=False`` leaves the access's wrap TTL out, for a look that this program itself reads.
        """
        call = self.prepare(method, path, body=body, query=query, wrap=wrap)
        answer = self._follow(call)
        if not 200 <= answer.status < 300:  # HTTP's own range
            raise RefusedError(method=method, path=f"/v1/{path.lstrip('/')}", answer=answer)
        return answer

    def prepare(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str | list[str]] | None = None,
        wrap: bool = True,
    ) -> Call:
        """Build the request without sending it, for ``--output-curl``; raise AccessError."""
        asked = dict(query or {})
        if method == "LIST":
            asked["list"] = "true"
        target = "/v1/" + quote(path.lstrip("/"), safe=_PATH_SAFE)
        if asked:
            target += "?" + urlencode(asked, doseq=True)
        data = None if body is None else msgspec.json.encode(body)
        return Call(
            method=_VERBS.get(method, method),
            url=_base(self.access) + target,
            headers=self._headers(method, has_body=data is not None, wrap=wrap),
            body=data,
        )

    def _headers(self, method: str, *, has_body: bool, wrap: bool) -> dict[str, str]:
        access = self.access
        headers = {"X-Vault-Request": "true", "Accept": "application/json"}
        if access.token:
            headers["X-Vault-Token"] = _header_text(access.token.reveal(), what="token")
        if access.namespace:
            headers["X-Vault-Namespace"] = _header_text(access.namespace, what="namespace")
        if access.wrap_ttl and wrap:
            headers["X-Vault-Wrap-TTL"] = _header_text(access.wrap_ttl, what="wrap TTL")
        if has_body:
            merge = method == "PATCH"
            headers["Content-Type"] = "application/merge-patch+json" if merge else "application/json"
        return headers

    def _follow(self, call: Call) -> Answer:
        """Send, and follow a standby's or a path-cleaning redirect; never from https to http."""
        url = call.url
        for _ in range(_MAX_HOPS):
            status, location, raw = self._exchange(call, url)
            if status not in _REDIRECTS or not location:
                return Answer(status, _decode(raw, status=status, address=self.access.address), raw)
            following = urljoin(url, location)
            # The token goes along, so a redirect must not lower the protection that the user chose.
            if url.startswith("https:") and not following.startswith("https:"):
                break
            url = following
        raise UnreachableError(
            f"{self.access.address} redirects in a way that is not followed",
            reason="too many redirects, or one from https to http",
            hint="ask the active server itself: set SECRETD_ADDR to its address",
        )

    def _exchange(self, call: Call, url: str) -> tuple[int, str, bytes]:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        try:
            connection = self._connect(origin)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(call.method, target, body=call.body, headers=dict(call.headers))
            response = connection.getresponse()
            return response.status, response.getheader("Location") or "", response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise make_unreachable(self.access.address, error) from None

    def _connect(self, origin: str) -> http.client.HTTPConnection:
        if self._connection is None or origin != self._origin:
            self.close()
            self._connection, self._origin = _open(self.access, origin), origin
        return self._connection


def _open(access: Access, origin: str) -> http.client.HTTPConnection:
    parts = urlsplit(origin)
    if access.socket_path:
        return _UnixConnection(access.socket_path, timeout=access.timeout)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=access.timeout)
    return http.client.HTTPSConnection(host, port, timeout=access.timeout, context=_tls(access))


def _tls(access: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(access.ca_cert) if access.ca_cert else None)
    except OSError:  # ssl.SSLError is one, too
        raise AccessError(
            "the CA certificate cannot be used",
            hint="--ca-cert and SECRETD_CACERT name a readable PEM file",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, for ``unix:/run/secretd.sock``."""

    def __init__(self, socket_path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._socket_path = socket_path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._socket_path)


def _base(access: Access) -> str:
    """Return the scheme, host and optional path prefix of an address; raise AccessError if it is none."""
    address = access.address
    if access.socket_path:
        return "http://localhost"
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.query or parts.fragment:
        raise AccessError(
            "the server's address is not one",
            hint="write it as https://host:8200, http://127.0.0.1:8200 or unix:/run/secretd.sock",
        )
    return address.rstrip("/")


def _header_text(value: str, *, what: str) -> str:
    # http.client would refuse these too, but its error message quotes the value.
    if not (value.isascii() and value.isprintable()):
        raise AccessError(
            f"the {what} has characters that no header can carry",
            hint="look for a stray line break or a copied quote",
        )
    return value


def _decode(raw: bytes, *, status: int, address: str) -> dict[str, Any]:
    if not raw.strip():
        return {}
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    if isinstance(body, dict):
        return body
    if b"HTTP request to an HTTPS server" in raw:
        hint = "write the address with https://"
    else:
        hint = "check the address: SECRETD_ADDR, VAULT_ADDR or --address"
    raise UnreachableError(
        f"{address} is no secretd server", reason=f"it answered {status} without a JSON object", hint=hint
    )
