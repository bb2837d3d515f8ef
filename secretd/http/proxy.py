"""PROXY protocol, versions 1 and 2: who really connected, said by a trusted proxy before anything else.

On such a listener the header is required, and only ``trusted_proxies`` may connect: a connection without
it, or from elsewhere, is dropped, because a header that anybody may send is a forged client address.
Before TLS it precedes the hello, so it is taken off where asyncio hands the first bytes to TLS.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import BaseRequest

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_MAX_LINE: Final = 107  # bytes of a version 1 header, by its specification
_MAX_HEADER: Final = 2048  # bytes of a version 2 header with its extensions
_ADDRESS_SIZES: Final = {0x11: 4, 0x21: 16}  # TCP over IPv4 and IPv6
_LINE_FAMILIES: Final = {b"TCP4": 4, b"TCP6": 6}
_LINE_PARTS: Final = 6


def parse_header(data: bytes) -> tuple[str, int] | None:
    """Return the source address ("" where the header names none) and the header's size in bytes.

    None means that more bytes are needed; raises ValueError for what can be no header.
    """
    if data.startswith(_SIGNATURE[: len(data)]):
        return _parse_binary(data) if len(data) >= 16 else None
    if data.startswith(b"PROXY "[: len(data)]):
        return _parse_line(data)
    raise ValueError("no PROXY header")


def _parse_line(data: bytes) -> tuple[str, int] | None:
    end = data.find(b"\r\n", 0, _MAX_LINE)
    if end < 0:
        if len(data) >= _MAX_LINE:
            raise ValueError("the PROXY line does not end")
        return None
    parts = data[:end].split(b" ")
    if parts[1] == b"UNKNOWN":
        return "", end + 2
    if len(parts) != _LINE_PARTS or parts[1] not in _LINE_FAMILIES:
        raise ValueError("the PROXY line is malformed")
    source = ipaddress.ip_address(parts[2].decode("ascii"))
    if source.version != _LINE_FAMILIES[parts[1]]:
        raise ValueError("the PROXY line is malformed")
    return str(source), end + 2


def _parse_binary(data: bytes) -> tuple[str, int] | None:
    command, family, size = data[12], data[13], 16 + int.from_bytes(data[14:16], "big")
    if command not in {0x20, 0x21} or size > _MAX_HEADER:
        raise ValueError("the PROXY header is malformed")
    if len(data) < size:
        return None
    width = _ADDRESS_SIZES.get(family, 0)
    if command == 0x20 or not width:  # LOCAL: the proxy's own health check
        return "", size
    if size < 16 + 2 * width + 4:
        raise ValueError("the PROXY header is malformed")
    return str(ipaddress.ip_address(data[16 : 16 + width])), size


class Preamble:
    """Collects a connection's first bytes until the header is whole. No I/O."""

    __slots__ = ("_held", "source")

    def __init__(self) -> None:
        self.source: str | None = None  # None until the header is read
        self._held = b""

    def take(self, data: bytes) -> bytes:
        """Return what follows the header, b"" while it is not whole. Raises ValueError, once and for all."""
        if self.source is not None:
            return data
        self._held += data
        found = parse_header(self._held)
        if found is None:
            return b""
        self.source, size = found
        rest, self._held = self._held[size:], b""
        return rest


class ProxiedContext(ssl.SSLContext):
    """A context whose connections begin with a PROXY header; ``server_context(proxied=True)`` makes it."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> Any:
        """Make the TLS object of a connection, and give it the buffer that the header is in."""
        made: Any = super().wrap_bio(incoming, outgoing, *args, **kwargs)
        made.incoming, made.preamble = incoming, Preamble()
        return made


class ProxiedObject(ssl.SSLObject):
    """Mixed into the TLS object of a :class:`ProxiedContext`."""

    incoming: ssl.MemoryBIO
    preamble: Preamble

    def do_handshake(self) -> None:
        """Take the header off the buffer, then shake hands."""
        if self.preamble.source is None:
            try:
                rest = self.preamble.take(self.incoming.read())
            except ValueError:
                raise ssl.SSLError(ssl.SSL_ERROR_SSL, "no PROXY header") from None
            if self.preamble.source is None:
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "PROXY header")
            self.incoming.write(rest)
        super().do_handshake()


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether a peer's address is one of the trusted networks; False for what is no address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in network for network in trusted)


def client_address(request: BaseRequest) -> str:
    """Return the address of a request's client: the PROXY header's, else the peer's, "" on a Unix socket."""
    source = getattr(request.protocol, "source", None)
    return source or request.remote or ""
