"""TLS of a listener: its context, its certificate's reload, and the chain that a client showed.

=============  =============  =======================================================================
client_certs   client_ca      a client without a certificate / with one nobody vouches for
=============  =============  =======================================================================
``none``       (refused)      served / never asked
``request``    no             served / served, judged by the cert auth method
``request``    yes            served / handshake fails
``require``    no             handshake fails / served, judged by the cert auth method
``require``    yes            handshake fails / handshake fails
=============  =============  =======================================================================
"""

from __future__ import annotations

import _ssl
import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final, Literal

from aiohttp import web

from secretd.http.openssl import make_accepting_context
from secretd.http.proxy import ProxiedContext, ProxiedObject
from secretd.sdk.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ClientCerts = Literal["none", "request", "require"]
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_MODES: Final = {"none": ssl.CERT_NONE, "request": ssl.CERT_OPTIONAL, "require": ssl.CERT_REQUIRED}


class ChainObject(ssl.SSLObject):
    """One connection's TLS on a listener that asks for certificates."""

    def getpeercert(self, binary_form: bool = False) -> Any:
        """Return the leaf as DER. The dict form stays empty: asyncio asks for it in every handshake, it
        would parse a stranger's certificate in C (a non-ASCII byte in a name raises), and nobody may trust it.
        """
        return super().getpeercert(True) if binary_form else {}

    def peer_chain(self) -> list[bytes]:
        """Return what the client sent, leaf first, as DER. Proved is only that it holds the leaf's key."""
        inner: Any = self  # public only from Python 3.13, where it fails without a certificate
        sent = inner._sslobj.get_unverified_chain() or []  # noqa: SLF001 -- public from Python 3.13 on
        return [
            certificate.public_bytes(_ssl.ENCODING_DER) for certificate in sent if certificate is not None
        ]


class ProxiedChainObject(ProxiedObject, ChainObject):
    """One that asks for certificates, behind a proxy."""


_OBJECTS: Final = {
    (True, False): ChainObject,
    (False, True): ProxiedObject,
    (True, True): ProxiedChainObject,
}


def peer_chain(transport: asyncio.BaseTransport | None) -> list[bytes]:
    """Return the chain a request's client showed (``request.transport``), leaf first, as DER; [] without one.

    Nothing about it is checked here: dates, usage, issuer and revocation are the login's to judge.
    """
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    return tls.peer_chain() if isinstance(tls, ChainObject) else []


def server_context(
    cert: Path,
    key: Path,
    *,
    min_version: str = "1.2",
    client_certs: str = "none",
    client_ca: Path | None = None,
    proxied: bool = False,
) -> ssl.SSLContext:
    """Return the context of a listener; ``proxied`` expects a PROXY header before each hello.

    Raises ConfigError naming the key that is wrong.
    """
    if min_version not in _VERSIONS:
        raise ConfigError("listener: tls_min_version is unknown", hint='use "1.2" or "1.3"')
    if client_certs not in _MODES:
        raise ConfigError("listener: client_certs is unknown", hint='use "none", "request" or "require"')
    if client_ca is not None and client_certs == "none":
        raise ConfigError(
            "listener: client_ca has no effect without client_certs", hint='set client_certs = "require"'
        )
    asks = client_certs != "none"
    stock = not asks or client_ca is not None
    kind = ProxiedContext if proxied else ssl.SSLContext
    context = kind(ssl.PROTOCOL_TLS_SERVER) if stock else make_accepting_context(kind)
    context.minimum_version = _VERSIONS[min_version]
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if asks:
        _ask(context, _MODES[client_certs])
    if asks or proxied:
        context.sslobject_class = _OBJECTS[asks, proxied]
    reload_context(context, cert, key, client_ca=client_ca)
    return context


def _ask(context: ssl.SSLContext, mode: ssl.VerifyMode) -> None:
    context.verify_mode = mode
    context.options |= ssl.OP_NO_TICKET  # from a ticket no chain is shown: every login must see it
    context.num_tickets = 0


def reload_context(context: ssl.SSLContext, cert: Path, key: Path, *, client_ca: Path | None = None) -> None:
    """Give a live context new files; connections made before keep theirs. Raises ConfigError.

    A file that does not fit is found in a context of its own, so a failed reload leaves the old pair
    whole. CAs are added, not taken away: a CA that must lose its trust needs a restart.
    """
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for each in (trial, context):
        _load_pair(each, cert, key)
        if client_ca is not None:
            _load_authorities(each, client_ca)


def _load_pair(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        named = "tls_key does not belong to tls_cert" if "MISMATCH" in (error.reason or "") else "not PEM"
        raise ConfigError(f"listener: tls_cert and tls_key cannot be used: {named}") from None
    except OSError as error:
        raise _unreadable("tls_cert or tls_key", error) from None


def _load_authorities(context: ssl.SSLContext, client_ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=client_ca)
    except ssl.SSLError:
        raise ConfigError("listener: client_ca holds no PEM certificate") from None
    except OSError as error:
        raise _unreadable("client_ca", error) from None


def _no_password() -> str:
    # Without this OpenSSL asks the terminal, and a daemon that starts at night waits for ever.
    raise ConfigError("listener: tls_key is encrypted", hint="decrypt it, and keep the file at mode 0600")


def _unreadable(names: str, error: OSError) -> ConfigError:
    reason = (error.strerror or "unreadable").lower()
    return ConfigError(
        f"listener: {names} cannot be read: {reason}", hint="check the path and its permissions"
    )


class TLSSite(web.TCPSite):
    """A TCP site that gives up on a silent handshake or goodbye; aiohttp's holds its socket for a minute."""

    __slots__ = ("_handshake_timeout",)

    def __init__(
        self,
        runner: web.BaseRunner,
        host: str,
        *,
        port: int,
        context: ssl.SSLContext,
        handshake_timeout: float = 10.0,
        backlog: int = 512,
    ) -> None:
        super().__init__(runner, host, port, ssl_context=context, backlog=backlog)
        self._handshake_timeout = handshake_timeout  # seconds

    async def start(self) -> None:
        """Listen. Raises OSError if the address is taken."""
        await web.BaseSite.start(self)  # not TCPSite's: that is the one that cannot set the time-out
        server = self._runner.server
        if server is None:
            raise RuntimeError("set the runner up first")
        self._server = await asyncio.get_running_loop().create_server(
            server,
            self._host,
            self._port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=self._handshake_timeout,
            ssl_shutdown_timeout=self._handshake_timeout,
        )
        if not self._port:
            self._bound_port = self._server.sockets[0].getsockname()[1]
