r"""The data arguments of a verb: ``key=value``, ``key=@file``, ``key=-``, ``@file.json`` and ``-``.

A key given twice makes a list. ``key=\@text`` is the text ``@text``. Files and standard input are
taken as they are, with no line break removed; ``@file.json`` and ``-`` hold a JSON object.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from secretd.cli.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHAPES = "data is written as key=value, key=@file, key=-, @file.json or -"


def parse_values(args: Iterable[str]) -> dict[str, Any]:
    """Return the object that the arguments describe; raise LocalError, which never shows a value."""
    values: dict[str, Any] = {}
    repeated: set[str] = set()
    stdin = _StandardInput()
    for arg in args:
        if arg == "-" or arg.startswith("@"):
            values.update(_decode_object(stdin.take() if arg == "-" else read_file(arg[1:])))
            continue
        key, equals, text = arg.partition("=")
        if not equals or not key:
            raise LocalError("an argument is not in the form key=value", hint=_SHAPES)
        value = _expand(text, stdin)
        if key in repeated:
            values[key].append(value)
        elif key in values:
            values[key] = [values[key], value]
            repeated.add(key)
        else:
            values[key] = value
    return values


def parse_pairs(args: Iterable[str], *, what: str) -> dict[str, str]:
    """Return ``key=value`` texts as a map of texts, nothing expanded; raise LocalError naming ``what``."""
    pairs: dict[str, str] = {}
    for arg in args:
        key, equals, text = arg.partition("=")
        if not equals or not key:
            raise LocalError(f"{what} is not in the form key=value")
        pairs[key] = text
    return pairs


def read_text(source: str) -> str:
    """Return standard input for ``-``, else the file ``source`` (a leading ``@`` is optional)."""
    return _StandardInput().take() if source == "-" else read_file(source.removeprefix("@"))


def read_file(name: str) -> str:
    """Return a file's text; raise LocalError if it is not there or not UTF-8."""
    try:
        return Path(name).expanduser().read_bytes().decode()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LocalError(f"the file {name} cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise LocalError(
            f"the file {name} is not UTF-8 text", hint="encode it first: `base64 FILE | secretd … key=-`"
        ) from None


class _StandardInput:
    """Standard input can be read once; a second ``-`` would silently be empty."""

    def __init__(self) -> None:
        self._is_taken = False

    def take(self) -> str:
        if self._is_taken:
            raise LocalError("standard input is asked for twice", hint="put one of the values into a file")
        self._is_taken = True
        try:
            return sys.stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise LocalError("standard input is not UTF-8 text") from None


def _expand(text: str, stdin: _StandardInput) -> str:
    if text == "-":
        return stdin.take()
    if text.startswith("@"):
        return read_file(text[1:])
    return text[1:] if text.startswith("\\@") else text


def _decode_object(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise LocalError("the data is not JSON", hint=_SHAPES) from None
    if not isinstance(found, dict):
        raise LocalError("the data is JSON but no object", hint=_SHAPES)
    return found
