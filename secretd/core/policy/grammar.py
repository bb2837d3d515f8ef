"""Reads the HCL that policies are written in, or its JSON form, into blocks of entries.

HCL here is version 1 without interpolation: ``key = value``, ``key "label" { … }``, lists, maps, heredocs,
three kinds of comment. Repeated keys stay apart, which no dict can do: two ``path`` blocks of one name merge
by Vault's rules, and a ``deny`` that a later duplicate overwrites would be a hole. For the same reason JSON
is read by the standard library, whose pairs hook shows duplicates, and not by msgspec, which drops them.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from typing import Any, NamedTuple, NoReturn, TypeAlias

import lark

from secretd.sdk.errors import InvalidRequestError, TooLargeError

MAX_TEXT = 128 * 1024  # characters; the longest takes about a quarter of a second
MAX_DEPTH = 16

_HCL = r"""
start: _members
_members: (_entry ","?)*
_entry: assign | block
assign: key "=" _value
block: key+ body
key: IDENT | STRING
_value: string | heredoc | number | flag | array | body
body: "{" _members "}"
array: "[" [_value ("," _value)* [","]] "]"
string: STRING
heredoc: HEREDOC
number: NUMBER
flag: BOOL
BOOL.2: /(true|false)\b/
IDENT: /[A-Za-z_][A-Za-z0-9_.-]*/
STRING: /"(?:[^"\\\n]|\\.)*"/
NUMBER: /-?(?:0x[0-9a-fA-F]{1,15}|\d{1,18}(?:\.\d{1,18})?(?:[eE][+-]?\d{1,2})?)(?![\w.])/
HEREDOC: /<<-?(?P<tag>[A-Za-z_]\w*)\n(?:.*\n)*?[ \t]*(?P=tag)(?=\s|$)/
COMMENT: /(?:#|\/\/)[^\n]*/ | /\/\*(?:[^*]|\*(?!\/))*\*\//
%ignore COMMENT
%ignore /[ \t\r\n\ufeff]+/
"""
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_SURROGATES = range(0xD800, 0xE000)  # half characters; no path and no JSON holds one
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


class Entry(NamedTuple):
    """One key with its labels, what it holds and the line it starts on (0: unknown, JSON)."""

    keys: tuple[str, ...]
    value: Value
    line: int


class Block(NamedTuple):
    """The entries between two braces, in order, duplicates included."""

    entries: tuple[Entry, ...]


Value: TypeAlias = "str | int | float | bool | list[Value] | Block | None"


def read_text(text: str) -> Block:
    """Return the top block. Text that starts with ``{`` is JSON.

    Raises TooLargeError, or InvalidRequestError naming the line; neither shows the text.
    """
    if len(text) > MAX_TEXT:
        raise TooLargeError(f"the text is longer than {MAX_TEXT} characters")
    block = _read_json(text) if text.lstrip()[:1] == "{" else _read_hcl(text)
    _require_shallow(block)
    return block


def _read_hcl(text: str) -> Block:
    try:
        return _parser().parse(text)  # type: ignore[return-value]  # the transformer of _parser makes it
    except lark.exceptions.VisitError as error:
        if isinstance(error.orig_exc, InvalidRequestError):
            raise error.orig_exc from None
        raise
    except lark.exceptions.UnexpectedInput as error:
        where = f"on line {error.line}" if error.line > 0 else "at its end"
        raise InvalidRequestError(f"the text is not HCL {where}") from None


def _read_json(text: str) -> Block:
    try:
        found = json.loads(text, object_pairs_hook=_block_of_pairs, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidRequestError(f"the text is not JSON on line {error.lineno}") from None
    except (ValueError, RecursionError):
        raise InvalidRequestError("the text is not JSON that can be read") from None
    if not isinstance(found, Block):
        raise InvalidRequestError("the text is not a JSON object")
    return found


def _block_of_pairs(pairs: list[tuple[str, Any]]) -> Block:
    return Block(tuple(Entry((key,), value, 0) for key, value in pairs))


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("not a number")


def _require_shallow(block: Block) -> None:
    # A loop and not a recursion: the depth of a hostile text is what this must survive.
    level: list[Value] = [block]
    for _ in range(MAX_DEPTH):
        below: list[Value] = []
        for value in level:
            if isinstance(value, Block):
                below += (entry.value for entry in value.entries)
            elif isinstance(value, list):
                below += value
        if not below:
            return
        level = below
    raise InvalidRequestError(f"the text nests deeper than {MAX_DEPTH} levels")


@functools.cache
def _parser() -> lark.Lark:
    # Built at first use: it takes 80 ms, and most commands never read a policy.
    return lark.Lark(_HCL, parser="lalr", transformer=_Build())


class _Build(lark.Transformer[lark.Token, Block]):
    """Turns what the grammar found into blocks, while it is found."""

    def start(self, entries: list[Entry]) -> Block:
        return Block(tuple(entries))

    def body(self, entries: list[Entry]) -> Block:
        return Block(tuple(entries))

    def assign(self, parts: list[Any]) -> Entry:
        (key, line), value = parts
        return Entry((key,), value, line)

    def block(self, parts: list[Any]) -> Entry:
        *keys, value = parts
        return Entry(tuple(key for key, _ in keys), value, keys[0][1])

    def key(self, parts: list[lark.Token]) -> tuple[str, int]:
        token = parts[0]
        return (_unquote(token) if token.type == "STRING" else str(token)), token.line or 0

    def array(self, parts: list[Value]) -> list[Value]:
        return [part for part in parts if part is not None]

    def string(self, parts: list[lark.Token]) -> str:
        return _unquote(parts[0])

    def heredoc(self, parts: list[lark.Token]) -> str:
        first, *lines = parts[0].split("\n")
        kept = lines[:-1]
        if first.startswith("<<-"):
            indent = min((len(line) - len(line.lstrip()) for line in kept if line.strip()), default=0)
            kept = [line[indent:] for line in kept]
        return "".join(line + "\n" for line in kept)

    def number(self, parts: list[lark.Token]) -> int | float:
        text = str(parts[0])
        if "x" in text:
            return int(text, 16)
        return float(text) if set(text) & set(".eE") else int(text)

    def flag(self, parts: list[lark.Token]) -> bool:
        return str(parts[0]) == "true"


def _unquote(token: lark.Token) -> str:
    return _ESCAPE.sub(lambda match: _unescape(match, token.line or 0), token[1:-1])


def _unescape(match: re.Match[str], line: int) -> str:
    short, long, letter = match.groups()
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    code = int(short or long or "D800", 16)
    if code in _SURROGATES or code > sys.maxunicode:
        raise InvalidRequestError(f"a string has an unknown escape on line {line}")
    return chr(code)
