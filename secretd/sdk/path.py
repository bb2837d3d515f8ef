"""A row of an engine's table: operation, pattern, fields, handler.

The pattern's ``{name}`` is one segment; a last ``{name*}`` takes the rest, slashes included. The Struct is
validation, path help, OpenAPI schema and the handler's argument; the handler's docstring is the help.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from types import NoneType
from typing import Any, TypeAlias, TypeVar, get_args

import msgspec

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import decode_hook
from secretd.sdk.request import Call, Operation
from secretd.sdk.response import Response

F = TypeVar("F", bound=msgspec.Struct)
Handler: TypeAlias = Callable[[Call, Any], Awaitable[Response | None]]
_HOLE = re.compile(r"\{(\w+)(\*?)\}")


class Nothing(msgspec.Struct):
    """No fields."""


class Path:
    """One endpoint. Its ``__init__`` is generic, so mypy rejects a handler that takes another Struct.

    ``exists``: asked for UPDATE rows; False makes the operation a CREATE for the policies.
    ``sudo``: needs the sudo capability as well. ``open``: needs no token. ``takes_any``: every field of
    the body is data (KV v1), so none is unknown. ``while_sealed``: answers without token, audit or storage's
    keys, sealed or not (health, unseal). ``max_bytes``: this row's own body limit.
    """

    __slots__ = (
        "exists", "fields", "handler", "known", "max_bytes", "never_null", "open", "operation", "pattern", "regex",
        "sudo", "takes_any", "while_sealed",
    )  # fmt: skip

    def __init__(
        self,
        operation: Operation,
        pattern: str,
        fields: type[F],
        handler: Callable[[Call, F], Awaitable[Response | None]],
        *,
        exists: Callable[[Call, F], Awaitable[bool]] | None = None,
        sudo: bool = False,
        open: bool = False,  # noqa: A002 -- the word of the house for "no token"
        takes_any: bool = False,
        while_sealed: bool = False,
        max_bytes: int = 0,
    ) -> None:
        self.operation = operation
        self.pattern = pattern
        self.fields = fields
        self.handler: Handler = handler
        self.exists: Callable[[Call, Any], Awaitable[bool]] | None = exists
        self.sudo = sudo
        self.open = open
        self.takes_any = takes_any
        self.while_sealed = while_sealed
        self.max_bytes = max_bytes
        self.regex = re.compile(_regex(pattern))
        info = msgspec.structs.fields(fields)
        self.known = frozenset(f.encode_name for f in info)
        self.never_null = frozenset(f.encode_name for f in info if not _takes_null(f.type))

    def match(self, path: str) -> dict[str, str] | None:
        """The holes' values, or None."""
        found = self.regex.match(path)
        return None if found is None else found.groupdict()

    def decode(self, data: dict[str, Any], holes: dict[str, str]) -> Any:
        """The fields; holes win over the body. Raises InvalidRequestError that echoes no value.

        A null is as good as an absent field where the field knows no null: clients send all they have.
        """
        given = {
            name: value for name, value in data.items() if value is not None or name not in self.never_null
        }
        try:
            return msgspec.convert({**given, **holes}, self.fields, strict=False, dec_hook=decode_hook)
        except msgspec.ValidationError as error:
            raise InvalidRequestError(_explain(str(error))) from None

    def unknown(self, data: dict[str, Any]) -> list[str]:
        """Names in the body that mean nothing here."""
        return [] if self.takes_any else [name for name in data if name not in self.known]


def _takes_null(kind: Any) -> bool:
    return kind in {Any, None, NoneType} or NoneType in get_args(kind)


def _regex(pattern: str) -> str:
    parts, at = [], 0
    for hole in _HOLE.finditer(pattern):
        parts.append(re.escape(pattern[at : hole.start()]))
        parts.append(f"(?P<{hole[1]}>{'.*' if hole[2] else '[^/]+'})")
        at = hole.end()
    return "".join(parts) + re.escape(pattern[at:]) + r"\Z"


def _explain(text: str) -> str:
    """msgspec's message as ours: the field's name and what was wanted, never what was sent."""
    reason, _, place = text.partition(" - at `$")
    field = place.strip("`.") or "the body"
    if reason.startswith("Invalid enum value"):
        reason = "not one of the allowed values"
    if reason.startswith("Object missing required field"):
        return f"missing required field {reason.split('`')[1]}"
    return f"field {field}: {reason[:1].lower()}{reason[1:]}"
