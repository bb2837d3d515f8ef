"""The few value types that schemas share: durations, secrets, names.

msgspec decodes a schema's fields through :func:`decode_hook`; Vault writes durations as ``60``,
``"60"``, ``"1h30m"`` or ``"7d"`` and takes lists as JSON lists or as comma-separated text.
"""

from __future__ import annotations

import hmac
import re
from typing import Any, NewType, NoReturn

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")
_LIMIT = 2**31  # seconds; 68 years, and it fits an interval, an int32 and a Go duration

Name = NewType("Name", str)


class Duration(int):
    """Whole seconds. Decoded from a number of seconds or from Go's duration text."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Return the duration; raise ValueError with a reason that does not echo the value."""
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError("a duration is a number of seconds or text like 1h30m")
        seconds = float(value) if isinstance(value, (int, float)) else _parse_text(value.strip())
        if not -_LIMIT < seconds < _LIMIT:
            raise ValueError("a duration is less than 68 years")
        return cls(seconds)


def _parse_text(text: str) -> float:
    if not text:
        return 0.0
    if re.fullmatch(r"-?\d{1,12}", text):
        return float(text)
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text)
    if len(rest) > 64 or not re.fullmatch(f"(?:{_PART.pattern})+", rest):
        raise ValueError("a duration is a number of seconds or text like 1h30m")
    return sign * sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(rest))


def go_duration(seconds: float) -> str:
    """Go's text of a duration: ``3h25m19s``, ``0s``."""
    whole = int(seconds)
    sign, whole = ("-", -whole) if whole < 0 else ("", whole)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{sign}{hours}h{minutes}m{rest}s"
    return f"{sign}{minutes}m{rest}s" if minutes else f"{sign}{rest}s"


class Sensitive:
    """A string that no log, repr or encoder shows. Say :meth:`reveal` where it must leave."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
        return self._value

    def __repr__(self) -> str:
        return "Sensitive(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sensitive):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> NoReturn:
        raise TypeError("a Sensitive is not hashable")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Sensitive is not pickled")


class Strings(tuple[str, ...]):
    """A list of strings. Decoded from a JSON list or from comma-separated text; empty parts vanish."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Strings:
        """Return the strings; raise ValueError on any other shape."""
        if value is None:
            return cls()
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise ValueError("a list of strings or comma-separated text is wanted")
        return cls(item.strip() for item in value if item.strip())


def decode_hook(kind: type, value: Any) -> Any:
    """Msgspec's ``dec_hook`` for the types of this module."""
    if kind is Duration:
        return Duration.parse(value)
    if kind is Strings:
        return Strings.parse(value)
    if kind is Sensitive:
        if not isinstance(value, str):
            raise ValueError("text is wanted")
        return Sensitive(value)
    raise NotImplementedError(kind)


def encode_sealed(value: Any) -> Any:
    """Msgspec's ``enc_hook`` for values that go behind the barrier or to a plugin, nowhere else."""
    if isinstance(value, Sensitive):
        return value.reveal()
    return encode_plain(value)


def encode_plain(value: Any) -> Any:
    """Msgspec's ``enc_hook`` for answers: a Sensitive is refused, the others are their base types."""
    if isinstance(value, Duration):
        return int(value)
    if isinstance(value, Strings):
        return list(value)
    raise NotImplementedError(type(value))
