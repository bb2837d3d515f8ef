"""Users' statements: split as psql splits, then filled in textually, as Vault does.

Substitution is textual because people write ``"{{name}}"`` already; so the values are safe by their
alphabet: nothing that ends a quote, a dollar quote or a comment can be in them. A text is split *before*
it is filled in, and a statement that would leave our transaction is refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from secretd.sdk.errors import InvalidRequestError

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}\Z")
_CLEAR: Final = re.compile(r"[^'\"\\$\x00-\x1f\x7f]{1,1024}\Z")
_VERIFIER: Final = re.compile(r"SCRAM-SHA-256\$\d+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+\Z")
_PLACEHOLDER: Final = re.compile(r"\{\{\s*([A-Za-z_]+)\s*\}\}")
_TRANSACTION: Final = frozenset({"begin", "start", "commit", "end", "rollback", "abort", "prepare"})
_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<line>--[^\n]*)
  | (?P<block>/\*)
  | (?P<escape>(?<![A-Za-z0-9_\x80-\U0010ffff$])[eE]'(?:[^'\\]|''|\\.)*')
  | (?P<broken>(?<![A-Za-z0-9_\x80-\U0010ffff$])[eE]')
  | (?P<string>'(?:[^']|'')*')
  | (?P<name>"(?:[^"]|"")*")
  | (?P<dollar>\$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?)\$)
  | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff$]*)
  | (?P<end>;)
  | (?P<open>\()
  | (?P<close>\))
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def split(text: str) -> list[str]:
    """Return the statements of a text, without those that are empty. Raises InvalidRequestError."""
    statements, begin, at, nesting = [], 0, 0, _Nesting()
    while at < len(text):
        match = _TOKEN.match(text, at)
        kind = match.lastgroup if match else "broken"
        if match is None or kind == "broken" or (kind == "other" and match[0] in "'\""):
            raise InvalidRequestError("a statement has a quote that does not end")
        at = match.end()
        if kind == "block":
            at = _after_comment(text, at)
        elif kind == "dollar":
            at = _after_dollar(text, at, match[0])
        if kind == "end" and nesting.is_outside:
            if not nesting.is_empty:
                statements.append(text[begin : match.start()].strip())
            begin, nesting = at, _Nesting()
        elif kind not in {"space", "line", "block"}:
            nesting.take(kind, match[0].lower())
    if not nesting.is_empty:
        statements.append(text[begin:].strip())
    return statements


class _Nesting:
    """Where in a statement we are: a semicolon in parentheses or in BEGIN ATOMIC … END does not end it."""

    def __init__(self) -> None:
        self._words: list[str] = []  # the first four: CREATE OR REPLACE FUNCTION
        self._parentheses = 0
        self._blocks = 0
        self.is_empty = True

    @property
    def is_outside(self) -> bool:
        """Whether a semicolon ends the statement here."""
        return not self._parentheses and not self._blocks

    def take(self, kind: str | None, word: str) -> None:
        """Move past a token that is no space or comment."""
        self.is_empty = False
        if kind == "open":
            self._parentheses += 1
        elif kind == "close":
            self._parentheses = max(self._parentheses - 1, 0)
        elif kind == "word":
            self._take_word(word)

    def _take_word(self, word: str) -> None:
        if len(self._words) < 4:
            self._words.append(word)
        if self._words[0] != "create" or not {"function", "procedure"} & set(self._words):
            return
        if word == "begin" or (word == "case" and self._blocks):
            self._blocks += 1
        elif word == "end":
            self._blocks = max(self._blocks - 1, 0)


def _after_comment(text: str, at: int) -> int:
    """Block comments nest."""
    depth = 1
    while depth:
        match = re.compile(r"/\*|\*/").search(text, at)
        if match is None:
            raise InvalidRequestError("a statement has a comment that does not end")
        depth += 1 if match[0] == "/*" else -1
        at = match.end()
    return at


def _after_dollar(text: str, at: int, tag: str) -> int:
    end = text.find(tag, at)
    if end < 0:
        raise InvalidRequestError("a statement has a dollar quote that does not end")
    return end + len(tag)


def prepare(texts: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Return the statements of these texts, checked: known placeholders, nothing that ends a transaction."""
    return list(_prepare(tuple(texts), frozenset(allowed)))


@functools.lru_cache(maxsize=256)  # a role's texts come with every call; they hold no values yet
def _prepare(texts: tuple[str, ...], known: frozenset[str]) -> tuple[str, ...]:
    statements = [statement for text in texts for statement in split(text)]
    for statement in statements:
        if "\0" in statement:
            raise InvalidRequestError("a statement holds a NUL")
        if _first_word(statement) in _TRANSACTION:
            raise InvalidRequestError(
                "a statement begins or ends a transaction",
                hint="all statements run in one transaction already",
            )
        for match in _PLACEHOLDER.finditer(statement):
            if match[1] not in known:
                raise InvalidRequestError(
                    "a statement has a placeholder that is not known here",
                    hint="known: " + ", ".join("{{" + name + "}}" for name in sorted(known)),
                )
    return tuple(statements)


def _first_word(statement: str) -> str:
    at = 0
    while match := _TOKEN.match(statement, at):
        at = match.end()
        if match.lastgroup == "block":
            at = _after_comment(statement, at)
        elif match.lastgroup not in {"space", "line"}:
            return match[0].lower()
    return ""


def fill(statements: Iterable[str], values: Mapping[str, str]) -> str:
    """Return one message of the statements with their values. Call :func:`prepare` first."""
    # A line of its own for each semicolon: a statement may end in a comment.
    return "".join(
        _PLACEHOLDER.sub(lambda match: values[match[1]], statement) + "\n;\n" for statement in statements
    )


def require_name(name: str) -> str:
    """Return a user's name that is safe anywhere. Raises InvalidRequestError."""
    if NAME.match(name) is None:
        raise InvalidRequestError("an account name is not 1 to 63 of A-Z, a-z, 0-9, _ and -")
    return name


def require_password(password: str, *, is_clear: bool) -> str:
    """Return what goes into a password's slot, if its alphabet is safe there. Raises InvalidRequestError."""
    if (_CLEAR if is_clear else _VERIFIER).match(password) is None:
        raise InvalidRequestError(
            "a clear password may hold no quote, backslash, dollar sign or control character",
            hint="change the password policy, or use password_authentication = scram-sha-256",
        )
    return password


def timestamp(moment: datetime) -> str:
    """Return the text of a time for SQL and for ``{{expiration}}``; the moment must be aware."""
    if moment.tzinfo is None:
        raise InvalidRequestError("a time has no zone")
    return moment.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")


def literal(text: str) -> str:
    """Return a string constant that is right under any setting of the session. Raises InvalidRequestError."""
    if "\0" in text:
        raise InvalidRequestError("a text holds a NUL")
    if "\\" in text:
        return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    return "'" + text.replace("'", "''") + "'"


def names_array(names: Iterable[str]) -> str:
    """Return the text of an array of checked names; quoted, for one of them may be NULL."""
    return "{" + ",".join(f'"{require_name(name)}"' for name in names) + "}"
