"""The functions of username templates, and what randomness survives them.

A value carries the min-entropy of each of its characters, in bits. Functions keep that account as a *lower*
bound, so that what is left after every cut can be asked of the result. All cuts keep the front.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import secrets
import string
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, TypeAlias

MAX_VALUE = 1024  # characters; longer values lose their end, so that nested replaces cannot explode

BASE62 = string.ascii_letters + string.digits
_BASE62_BITS = math.log2(62)
_VERB = re.compile(r"%(?:%|(-?)(0?)(\d{0,3})(?:\.(\d{1,3}))?([svdxX]))")


class Text(NamedTuple):
    """Characters and, for each, a lower bound of its random bits."""

    text: str
    bits: tuple[float, ...]

    @classmethod
    def plain(cls, text: str) -> Text:
        """Text that an attacker may know."""
        return cls(text, (0.0,) * len(text)).cut(MAX_VALUE)

    def cut(self, length: int) -> Text:
        """The front."""
        return Text(self.text[:length], self.bits[:length])


class Scope(NamedTuple):
    """What one rendering knows."""

    fields: dict[str, str]
    now: datetime


Value: TypeAlias = Text | int
Function: TypeAlias = Callable[..., Value]


def as_text(value: Value) -> Text:
    """The value as text; a number in digits."""
    return value if isinstance(value, Text) else Text.plain(str(value))


def join_texts(parts: list[Text]) -> Text:
    """One after the other."""
    return Text("".join(part.text for part in parts), tuple(bits for part in parts for bits in part.bits))


def _random(_scope: Scope, length: int) -> Text:
    return Text("".join(secrets.choice(BASE62) for _ in range(length)), (_BASE62_BITS,) * length)


def _uuid(_scope: Scope) -> Text:
    # 122 bits over 32 digits: two of them are fixed in whole or in part.
    text = str(uuid.uuid4())
    return Text(text, tuple(0.0 if index in (8, 13, 14, 18, 19, 23) else 4.0 for index in range(36)))


def _digest(value: Text, *, length: int, bits: float) -> Text:
    """The front of a hash: four bits a digit until the hashed bits are spent."""
    text = hashlib.sha256(value.text.encode(errors="replace")).hexdigest()[:length]
    return Text(text, tuple(max(0.0, min(4.0, bits - 4.0 * index)) for index in range(length)))


def _sha256(_scope: Scope, value: Text) -> Text:
    return _digest(value, length=64, bits=sum(value.bits))


def _truncate(_scope: Scope, length: int, value: Text) -> Text:
    return value.cut(length)


def _truncate_sha256(_scope: Scope, length: int, value: Text) -> Text:
    """Vault's: a text that is too long ends in eight digits of the hash of what was cut."""
    if length <= 8:
        raise ValueError("truncate_sha256 of a template leaves room for more than its 8 digits")
    if len(value.text) <= length:
        return value
    kept, rest = value.cut(length - 8), Text(value.text[length - 8 :], value.bits[length - 8 :])
    return join_texts([kept, _digest(rest, length=8, bits=sum(rest.bits))])


def _recase(change: Callable[[str], str]) -> Function:
    def recase(_scope: Scope, value: Text) -> Text:
        text = change(value.text)
        if len(text) != len(value.text):  # ß becomes SS; the account of such text is not worth keeping
            return Text.plain(text)
        # Two characters become one: at most one bit of each is lost.
        return Text(text, tuple(max(0.0, bits - 1.0) for bits in value.bits))

    return recase


def _replace(_scope: Scope, find: Text, by: Text, value: Text) -> Text:
    # One mark cannot be among random letters and digits; anything else may fold many texts into one.
    if len(find.text) != 1 or find.text.isalnum():
        return Text.plain(value.text.replace(find.text, by.text))
    parts: list[Text] = []
    at = 0
    for piece in value.text.split(find.text):
        parts += [Text(piece, value.bits[at : at + len(piece)]), Text.plain(by.text)]
        at += len(piece) + 1
    return join_texts(parts[:-1])


def _base64(_scope: Scope, value: Text) -> Text:
    # Counts nothing: where a later cut falls, bits of one character lie in two.
    return Text.plain(base64.b64encode(value.text.encode(errors="replace")).decode())


def _unix_time(scope: Scope) -> Text:
    return Text.plain(str(int(scope.now.timestamp())))


def _unix_time_millis(scope: Scope) -> Text:
    return Text.plain(str(int(scope.now.timestamp() * 1000)))


# Go writes a time's layout as the moment 2006-01-02 15:04:05; longest first, for 2006 is not 20 and 06.
_LAYOUT = {
    "January": "%B",
    "Monday": "%A",
    "2006": "%Y",
    "Jan": "%b",
    "Mon": "%a",
    "MST": "%Z",
    "01": "%m",
    "02": "%d",
    "03": "%I",
    "04": "%M",
    "05": "%S",
    "06": "%y",
    "15": "%H",
    "PM": "%p",
}
_LAYOUT_WORD = re.compile("|".join(_LAYOUT))


def _timestamp(scope: Scope, layout: Text) -> Text:
    return Text.plain(_LAYOUT_WORD.sub(lambda match: scope.now.strftime(_LAYOUT[match[0]]), layout.text))


def _printf(_scope: Scope, form: Text, *values: Value) -> Text:
    parts: list[Text] = []
    left, at = list(values), 0
    for verb in _VERB.finditer(form.text):
        parts.append(_literal_of(form.text[at : verb.start()]))
        if verb[5] and not left:
            raise ValueError("printf of a template has fewer arguments than verbs")
        parts.append(_formatted(verb, left.pop(0)) if verb[5] else Text.plain("%"))
        at = verb.end()
    parts.append(_literal_of(form.text[at:]))
    if left:
        raise ValueError("printf of a template has more arguments than verbs")
    return join_texts(parts)


def _literal_of(text: str) -> Text:
    if "%" in text:
        raise ValueError("printf of a template knows the verbs %s, %v, %d, %x, %X and %%")
    return Text.plain(text)


def _formatted(verb: re.Match[str], value: Value) -> Text:
    left, zero, width, precision, kind = verb.groups()
    if kind == "d" and not isinstance(value, int):
        raise ValueError("%d of a template wants a number")
    if kind in "xX":
        digits = value.text.encode(errors="replace").hex() if isinstance(value, Text) else f"{value:x}"
        text = Text.plain(digits.upper() if kind == "X" else digits)
    else:
        text = as_text(value)
    if precision is not None and kind != "d":
        text = text.cut(int(precision))
    fill = Text.plain(("0" if zero and not left else " ") * (int(width or 0) - len(text.text)))
    return join_texts([text, fill] if left else [fill, text])


# Name, function, kinds of its arguments; None: any, at least one. What is piped comes last.
FUNCTIONS: dict[str, tuple[Function, tuple[type, ...] | None]] = {
    "printf": (_printf, None),
    "random": (_random, (int,)),
    "truncate": (_truncate, (int, Text)),
    "truncate_sha256": (_truncate_sha256, (int, Text)),
    "lowercase": (_recase(str.lower), (Text,)),
    "uppercase": (_recase(str.upper), (Text,)),
    "replace": (_replace, (Text, Text, Text)),
    "sha256": (_sha256, (Text,)),
    "base64": (_base64, (Text,)),
    "unix_time": (_unix_time, ()),
    "unix_time_millis": (_unix_time_millis, ()),
    "timestamp": (_timestamp, (Text,)),
    "uuid": (_uuid, ()),
}
