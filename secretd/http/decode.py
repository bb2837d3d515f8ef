"""From an HTTP request to an ``sdk.Request``. Translates, decides nothing about rights.

Methods: GET reads, LIST or ``?list=true`` lists, POST and PUT are one, ``?help=1`` asks for help. Where there is no
body, a query's parameters are the fields; where there is one, they mean nothing (KV would store them).
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp.web import BaseRequest
from multidict import MultiMapping

from secretd.http.body import read_object
from secretd.http.paths import canonical_path
from secretd.http.proxy import client_address, is_trusted
from secretd.http.tls import peer_chain
from secretd.sdk.errors import (
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    UnsupportedOperationError,
)
from secretd.sdk.fields import Duration, Sensitive
from secretd.sdk.request import Operation, Request

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_METHODS = {
    "GET": Operation.READ,
    "HEAD": Operation.READ,
    "LIST": Operation.LIST,
    "POST": Operation.UPDATE,
    "PUT": Operation.UPDATE,
    "PATCH": Operation.PATCH,
    "DELETE": Operation.DELETE,
}
_WITH_BODY = {Operation.UPDATE, Operation.PATCH}
_TRUE = {"true", "1", "t", "True", "TRUE"}
_LONGEST_TOKEN = 4096
_MOST, _DIGITS = 2**31 - 1, 10  # of a page; Python refuses to read a number of thousands of digits
_CONTROL_PARAMETERS = {"list", "help", "after", "limit"}


@dataclass(slots=True, frozen=True)
class Head:
    """A request before its body is read."""

    path: str
    operation: Operation
    query: dict[str, Any]
    token: Sensitive | None
    list_pages: tuple[str, int]


def read_head(request: BaseRequest) -> Head:
    """Path, operation, query and token. Raises for what can be refused without reading a body."""
    path = canonical_path(request.raw_path).rstrip("/")
    operation = _METHODS.get(request.method)
    if operation is None:
        raise UnsupportedOperationError
    query = request.query if "?" in request.raw_path else None
    if not query:
        return Head(path, operation, {}, _token(request), ("", 0))
    if operation is Operation.READ and query.get("list") in _TRUE:
        operation = Operation.LIST
    if query.get("help") in _TRUE:
        operation = Operation.HELP
    pages = ("", 0)
    if operation is Operation.LIST:
        pages = (query.get("after", ""), _limit(query.get("limit", "0")))
    return Head(path, operation, _parameters(query, operation), _token(request), pages)


async def read_request(
    request: BaseRequest, head: Head, *, limit: int, trusted: Sequence[Network]
) -> Request:
    """The whole request; ``limit`` is the body's, in bytes."""
    data = head.query
    if head.operation in _WITH_BODY:
        data = await read_object(request, limit=limit)
    namespace = request.headers.get("X-Vault-Namespace", "").strip("/")
    if namespace not in {"", "root"}:
        raise NotFoundError("there is no such namespace", hint="leave X-Vault-Namespace empty")
    return Request(
        id=str(uuid.uuid4()),
        operation=head.operation,
        path=head.path,
        data=data,
        token=head.token,
        client_address=_address(request, trusted),
        wrap_ttl=_wrap_ttl(request.headers.get("X-Vault-Wrap-TTL", "")),
        headers=request.headers,
        peer_certificates=tuple(peer_chain(request.transport)),
        list_pages=head.list_pages,
    )


def _token(request: BaseRequest) -> Sensitive | None:
    text = request.headers.get("X-Vault-Token", "")
    if not text:
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        text = rest.strip() if scheme.lower() == "bearer" else ""
    if not text:
        return None
    if len(text) > _LONGEST_TOKEN or not text.isascii() or not text.isprintable():
        raise PermissionDeniedError
    return Sensitive(text)


def _parameters(query: MultiMapping[str], operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in query:
        if name not in _CONTROL_PARAMETERS or (
            operation is not Operation.LIST and name in {"after", "limit"}
        ):
            values = query.getall(name)
            found[name] = values if len(values) > 1 else values[0]
    return found


def _limit(text: str) -> int:
    digits = text.removeprefix("-")
    if not digits.isdecimal():
        raise InvalidRequestError("limit is a whole number")
    if digits != text:
        return 0
    return min(int(digits), _MOST) if len(digits) <= _DIGITS else _MOST


def _wrap_ttl(text: str) -> int | None:
    if not text:
        return None
    try:
        seconds = Duration.parse(text)
    except ValueError:
        raise InvalidRequestError("X-Vault-Wrap-TTL is a duration such as 60 or 1m") from None
    return int(seconds) or None


def _address(request: BaseRequest, trusted: Sequence[Network]) -> str:
    """The client's address; a trusted proxy may say another."""
    address = client_address(request)
    forwarded = request.headers.getall("X-Forwarded-For", ()) if trusted else ()
    if not forwarded or not is_trusted(address, trusted):
        return address
    try:
        # The last word of the last header is the proxy's own: some proxies add a header beside the client's.
        return str(ipaddress.ip_address(forwarded[-1].rpartition(",")[2].strip()))
    except ValueError:
        raise InvalidRequestError("X-Forwarded-For is not a list of addresses") from None
