"""The frames between the daemon and a plugin's child: four bytes of length, then msgpack.

Daemon to child: one :class:`Hello`, then :class:`Call` frames; a call without a method cancels the call of
that id. Child to daemon: one :class:`Ready`, then :class:`Reply` frames in any order. Whatever does not
decode, or is larger than :data:`MAX_FRAME`, is a :class:`FrameError`: the reader gives the other side up.
"""

from __future__ import annotations

import struct
from datetime import datetime
from typing import Any, Final

import msgspec

from secretd.sdk.errors import (
    InvalidRequestError,
    PluginError,
    SecretdError,
    TargetAuthError,
    TargetError,
    TargetUnavailableError,
)
from secretd.sdk.fields import Sensitive, decode_hook, encode_sealed
from secretd.sdk.plugin import (
    ChangePassword,
    DoomedUser,
    FoundUser,
    NewUser,
    Reach,
    Recipe,
    RenewUser,
    Target,
    TargetState,
    Verdict,
)

MAX_FRAME: Final = 4 * 2**20  # bytes; a thousand doomed users with their recipes take one
MAX_MESSAGE: Final = 500  # characters of an error's message or hint
_LENGTH = struct.Struct(">I")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel lets a child have. ``memory`` in bytes of address space; ``processes`` above those
    its user has already (threads count).
    """

    memory: int = 2**30
    files: int = 1024
    processes: int = 32


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """What a child must know before it imports a plugin. ``entry`` and ``loop`` are ``module:attribute``;
    ``user`` is who to become, empty = stay; ``folder`` is where the distribution was found.
    """

    entry: str
    folder: str = ""
    loop: str = ""
    user: str = ""
    limits: Limits = Limits()
    reach: Reach = Reach()


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest's face, or why there is none (``error``: a class name, never a message)."""

    type: str = ""
    sdk: int = 0
    contract: str = ""
    error: str = ""


class Call(msgspec.Struct, frozen=True, array_like=True):
    """A call; ``timeout`` in seconds. ``args`` are decoded by the method's own types."""

    id: int
    timeout: float
    method: str
    args: msgspec.Raw


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """An answer: ``error`` is a key of :data:`ERRORS` or empty."""

    id: int
    error: str
    message: str
    hint: str
    body: msgspec.Raw


ERRORS: Final[dict[str, type[SecretdError]]] = {
    kind.__name__: kind
    for kind in (InvalidRequestError, TargetError, TargetUnavailableError, TargetAuthError, PluginError)
}

PULSE: Final = "."  # a call that the child's loop answers by itself
UNEXPECTED: Final = "unexpected"  # in place of a key of ERRORS: the plugin broke its contract

# method of DatabasePlugin -> types of its arguments, type of its answer
METHODS: Final[dict[str, tuple[Any, Any]]] = {
    "describe": (tuple[dict[str, Any]], Target),
    "lint": (tuple[dict[str, Any], Recipe], tuple[str, ...]),
    "verify": (tuple[dict[str, Any]], TargetState),
    "create_user": (tuple[dict[str, Any], NewUser], None),
    "renew_user": (tuple[dict[str, Any], RenewUser], datetime),
    "change_password": (tuple[dict[str, Any], ChangePassword], None),
    "delete_users": (tuple[dict[str, Any], tuple[DoomedUser, ...]], tuple[Verdict, ...]),
    "list_users": (tuple[dict[str, Any], str], tuple[FoundUser, ...]),
    "probe": (tuple[dict[str, Any], str, Sensitive], bool),
}


class FrameError(Exception):
    """What came over the pipe is no frame of ours"""


def encode_frame(value: Any) -> bytes:
    """Return the value's frame, secrets in clear: it goes to the child and nowhere else."""
    body = bytearray(4)
    _ENCODER.encode_into(value, body, 4)
    if len(body) - 4 > MAX_FRAME:
        raise FrameError("a frame would be too large")
    _LENGTH.pack_into(body, 0, len(body) - 4)
    return bytes(body)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=encode_sealed)


def decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return a decoder of that type for frames' bodies."""
    return msgspec.msgpack.Decoder(kind, dec_hook=decode_hook)


class FrameBuffer:
    """Cuts a stream of bytes into frames' bodies."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the bodies that are complete now. Raises FrameError as soon as a length is too large."""
        self._rest += data
        bodies, at = [], 0
        while len(self._rest) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._rest, at)
            if size > MAX_FRAME:
                raise FrameError("a frame is too large")
            end = at + _LENGTH.size + size
            if len(self._rest) < end:
                break
            bodies.append(bytes(self._rest[at + _LENGTH.size : end]))
            at = end
        del self._rest[:at]
        return bodies
