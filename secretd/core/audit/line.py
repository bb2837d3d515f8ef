"""The line of an audit file, and the chain that runs through the lines.

A line is the entry's JSON object with four members appended, ``node``, ``device``, ``seq`` and, last,
``chain``. What is chained are the very bytes before ``,"chain":``, so checking needs no canonical JSON:

    chain = HMAC-SHA256(chain key, chain of the line before ‖ bytes before ``,"chain":``)

The first line of a device's life chains on 32 zero bytes and has ``seq`` 1. A chain goes on through rotation,
restart and repair; the first line after each of those (``rotated``, ``recovered``) says what it chains on.
"""

from __future__ import annotations

from typing import Final

import msgspec

from secretd.crypto.digest import CHAIN_START, chain

ROTATED: Final = "rotated"  # the file before this one was renamed, as logrotate does
RECOVERED: Final = "recovered"  # something else happened to the file; ``reason`` says what
_CHAIN = b',"chain":"'
_CLOSING = b'"}'
_HEX = 64
_TAIL = len(_CHAIN) + _HEX + len(_CLOSING)


class Link(msgspec.Struct, frozen=True):
    """A place in a chain: the line's number and its ``chain`` in hex. ``START`` stands before line 1."""

    seq: int
    chain: str


START: Final = Link(0, CHAIN_START.hex())


class AuditHead(msgspec.Struct, frozen=True):
    """The last line that a device has written, to be kept where the file's owner cannot reach it.

    ``chain`` is hex; ``time`` is RFC 3339, when the line was written.
    """

    node: str
    device: str
    seq: int
    chain: str
    time: str

    @property
    def link(self) -> Link:
        """Where the next line chains on."""
        return Link(self.seq, self.chain)


class Torn(msgspec.Struct, frozen=True):
    """Bytes that are no whole line, left in place: how many (with the line's end) and their SHA-256 in hex."""

    bytes: int
    sha256: str


class Line(msgspec.Struct, frozen=True):
    """What chaining and checking read of a line; the rest is the auditor's."""

    type: str
    node: str
    device: str
    seq: int
    chain: str
    time: str = ""
    reason: str = ""
    missed: int = 0
    previous: Link | None = None
    torn: Torn | None = None

    @property
    def link(self) -> Link:
        """Where the next line chains on."""
        return Link(self.seq, self.chain)

    @property
    def is_marker(self) -> bool:
        """Whether the line tells of the file itself."""
        return self.type in (ROTATED, RECOVERED)


_decoder = msgspec.json.Decoder(Line)


def label(node: str, device: str) -> bytes:
    """The constant part of what a device appends to an entry, up to the number."""
    pair = msgspec.json.encode({"node": node, "device": device})
    return b"," + pair[1:-1] + b',"seq":'


def seal(body: bytes, *, label: bytes, previous: Link, key: bytes) -> tuple[bytes, Link]:
    """The line (with its end) of an entry, a non-empty JSON object, and the link it makes."""
    seq = previous.seq + 1
    entry = b"%b%b%d" % (body[:-1], label, seq)
    made = chain(key, bytes.fromhex(previous.chain), entry).hex()
    return b"%b%b%b%b\n" % (entry, _CHAIN, made.encode(), _CLOSING), Link(seq, made)


def parse(raw: bytes) -> Line | None:
    """The line without its end, or None if it is no line of ours. Says nothing about the chain."""
    if len(raw) <= _TAIL or raw[-_TAIL : -_TAIL + len(_CHAIN)] != _CHAIN or not raw.endswith(_CLOSING):
        return None
    try:
        line = _decoder.decode(raw)
        claimed = bytes.fromhex(line.chain)
    except (msgspec.DecodeError, ValueError):
        return None
    return line if claimed.hex().encode() == raw[-_HEX - len(_CLOSING) : -len(_CLOSING)] else None


def computed_chain(raw: bytes, previous: Link, *, key: bytes) -> str:
    """The ``chain`` that a parsed line ought to have, in hex."""
    return chain(key, bytes.fromhex(previous.chain), raw[:-_TAIL]).hex()
