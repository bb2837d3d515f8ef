"""A request's body: read with a limit, refused while it is still cheap to refuse, decoded once.

The order is the defence. (1) encoding and announced length, before a byte is read; (2) the limit,
while reading; (3) commas, colons and opening brackets, counted by C code, because each becomes an
object some fifty times its size; (4) nesting; (5) decoding; (6) what the decoder lets through: repeated
members (decision 0002), whole numbers that storage cannot hold, a top level that is no object.

No error here repeats a byte of the body, nor a position in it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp.web import RequestPayloadError

from secretd.sdk.errors import InvalidRequestError, TooLargeError, UnsupportedMediaError

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

MAX_MEMBERS: Final = 200_000  # commas and colons, and as many opening brackets
MAX_DEPTH: Final = 100
MERGE_PATCH: Final = "application/merge-patch+json"
_DECODER = msgspec.json.Decoder()
_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'"[]{}:')
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1, ord(":"): 0}
_LEAST, _MOST = -(2**63), 2**64 - 1


async def read_object(request: BaseRequest, *, limit: int) -> dict[str, Any]:
    """Return the JSON object of a request's body, ``{}`` without one; ``limit`` is in bytes.

    Raises UnsupportedMediaError, TooLargeError or InvalidRequestError.
    """
    require_media(request)
    return decode_object(await read_limited(request, limit=limit))


def require_media(request: BaseRequest) -> None:
    """Refuse a compressed body, and a PATCH that does not say that it is a merge patch.

    Otherwise the Content-Type is not looked at: Go clients send none, browsers ``text/plain``.
    """
    for encoding in request.headers.getall("Content-Encoding", ()):
        if encoding.strip().lower() not in {"", "identity"}:
            raise UnsupportedMediaError(hint="send the body without Content-Encoding")
    if request.method == "PATCH" and request.content_type != MERGE_PATCH:
        raise UnsupportedMediaError(f"PATCH requires Content-Type of {MERGE_PATCH}")


async def read_limited(request: BaseRequest, *, limit: int) -> bytes:
    """Return the body's bytes; raises TooLargeError as soon as it is known to exceed ``limit`` bytes."""
    if (request.content_length or 0) > limit:
        raise TooLargeError(_too_long(limit))
    pieces = bytearray()
    try:
        while piece := await request.content.readany():
            pieces += piece
            if len(pieces) > limit:
                raise TooLargeError(_too_long(limit))
    except RequestPayloadError:
        raise InvalidRequestError("the body's transfer coding is malformed") from None
    return bytes(pieces)


def _too_long(limit: int) -> str:
    return f"the body is larger than {limit} bytes"


def decode_object(body: bytes) -> dict[str, Any]:
    """Return the object that ``body`` is; blank and ``null`` (Go's nil map) are ``{}``.

    Raises TooLargeError for too many members, InvalidRequestError for everything else.
    """
    if not body or body.isspace():
        return {}
    _require_modest(body)
    try:
        value: object = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise InvalidRequestError("failed to parse JSON input") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequestError("failed to parse JSON input: the body is a JSON object")
    _require_unrepeated(body, _count_members(value))
    return value


def _require_modest(body: bytes) -> None:
    if body.count(b",") + body.count(b":") > MAX_MEMBERS:
        raise TooLargeError(f"the body has more than {MAX_MEMBERS} commas and colons")
    brackets = body.count(b"[") + body.count(b"{")
    if brackets <= MAX_DEPTH:
        return
    if brackets > MAX_MEMBERS:
        raise TooLargeError(f"the body has more than {MAX_MEMBERS} opening brackets")
    steps = map(_STEP.__getitem__, _structure(body))
    if max(itertools.accumulate(steps), default=0) > MAX_DEPTH:
        raise InvalidRequestError(f"the body is nested deeper than {MAX_DEPTH} levels")


def _structure(body: bytes) -> bytes:
    """Brackets and colons outside strings. Wrong only for text that is no JSON, which fails to decode."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # in this order: a run is read from its left
    return b"".join(body.translate(None, _NOT_STRUCTURE).split(b'"')[::2])


def _require_unrepeated(body: bytes, members: int) -> None:
    # Each member of a JSON text has one colon outside strings; a repeated name leaves the tree smaller.
    if body.count(b":") != members and _structure(body).count(b":") != members:
        raise InvalidRequestError("failed to parse JSON input: a name is repeated in an object")


def _count_members(value: dict[str, Any]) -> int:
    """Members of all objects of a tree; raises InvalidRequestError for a number that storage cannot hold."""
    members = 0
    waiting: list[Any] = [value]
    while waiting:
        node = waiting.pop()
        kind = type(node)  # exact types: the decoder makes no others, and this loop runs for each leaf
        if kind is dict:
            members += len(node)
            waiting.extend(node.values())
        elif kind is list:
            waiting.extend(node)
        elif kind is int and not _LEAST <= node <= _MOST:
            raise InvalidRequestError("failed to parse JSON input: a whole number exceeds 64 bits")
    return members
