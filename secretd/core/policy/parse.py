"""From a policy's text to its rules. What it says and we would not enforce is refused, never skipped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from secretd.core.policy.grammar import Block, Entry, Value, read_text
from secretd.core.policy.model import LEGACY, NAMES, Capability, Limits, Policy, Rule
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Duration

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_DENY = int(Capability.DENY)


def parse_policy(name: str, text: str) -> Policy:
    """Return the policy; raise InvalidRequestError with the key and the line at fault.

    Two blocks of one path become two rules; the ACL merges them as it merges those of two policies.
    """
    try:
        top = read_text(text)
        _require_known(top, {"name", "path"})
        rules = tuple(_rule(path, body, line) for path, body, line in labelled_blocks(top, "path"))
    except InvalidRequestError as error:
        raise InvalidRequestError(f"failed to parse policy: {error.message}", hint=error.hint) from None
    return Policy(name=name, text=text, rules=rules)


def labelled_blocks(top: Block, key: str) -> Iterator[tuple[str, Block, int]]:
    """Yield label, body and line of each ``key "label" { … }``, or of JSON's maps and lists of maps."""
    for entry in top.entries:
        if entry.keys[0] != key:
            continue
        bodies = entry.value if isinstance(entry.value, list) else [entry.value]
        for body in bodies:
            yield from _labelled(entry, body)


def _labelled(entry: Entry, body: Value) -> Iterator[tuple[str, Block, int]]:
    if len(entry.keys) > 2 or not isinstance(body, Block):
        raise InvalidRequestError(f"{shown(entry.keys[0])} needs one label and a body{on(entry.line)}")
    if len(entry.keys) == 2:
        yield entry.keys[1], body, entry.line
        return
    for inner in body.entries:
        yield from _labelled(Entry((*entry.keys, *inner.keys), inner.value, inner.line), inner.value)


def shown(key: str) -> str:
    """The key in quotes if it is a plain word: a key may be anything that a caller typed."""
    return f'"{key}"' if _PLAIN_KEY.fullmatch(key) else "(not a plain word)"


def on(line: int) -> str:
    """The end of a sentence that names a line, empty where the line is unknown."""
    return f" on line {line}" if line else ""


def _require_known(block: Block, known: set[str]) -> None:
    for entry in block.entries:
        if entry.keys[0] not in known:
            raise InvalidRequestError(f"invalid key {shown(entry.keys[0])}{on(entry.line)}")


def _rule(path: str, body: Block, line: int) -> Rule:
    path = path.removeprefix("/")
    _require_usable(path, line)
    settings = _settings(body)
    capabilities = settings.pop("policy", 0) | settings.pop("capabilities", 0)
    settings.pop("comment", None)
    limits = Limits(**settings)
    _require_order(limits, line)
    has_wildcards = path.startswith("+/") or path == "+" or "/+" in path
    is_prefix = path.endswith("*")
    return Rule(
        path=path[:-1] if is_prefix else path,
        # A deny stands alone: nothing that is written beside it may grant.
        capabilities=_DENY if capabilities & _DENY else capabilities,
        is_prefix=is_prefix,
        has_wildcards=has_wildcards,
        limits=limits if limits != Limits() and not capabilities & _DENY else None,
    )


def _require_usable(path: str, line: int) -> None:
    if "+*" in path:
        raise InvalidRequestError(f"invalid use of wildcards ('+*' is forbidden){on(line)}")
    if not path.isprintable():
        raise InvalidRequestError(f"a path has a character that is not printable{on(line)}")
    if "{" in path.replace("{{", "") or re.sub(r"\{\{[^{}]*\}\}", "", path).count("{{"):
        raise InvalidRequestError(f"unbalanced templating characters{on(line)}")


def _require_order(limits: Limits, line: int) -> None:
    if 0 < limits.max_wrapping_ttl < limits.min_wrapping_ttl:
        raise InvalidRequestError(f"max_wrapping_ttl cannot be less than min_wrapping_ttl{on(line)}")


def _settings(body: Block) -> dict[str, Any]:
    """What the block sets, read and named as the fields of Limits."""
    found: dict[str, Any] = {}
    _require_known(body, set(_READERS))
    for entry in body.entries:
        name, read = _READERS[entry.keys[0]]
        # Vault lets the last one win; which of two was meant is not ours to guess.
        if name in found or len(entry.keys) > 1:
            raise InvalidRequestError(f"{shown(entry.keys[0])} is given twice or has a label{on(entry.line)}")
        try:
            found[name] = read(entry.value)
        except ValueError as error:
            raise InvalidRequestError(f"{entry.keys[0]}: {error}{on(entry.line)}") from None
    return found


def _capabilities(value: Value) -> int:
    bits = 0
    for word in _strings(value):
        if word not in NAMES:
            raise ValueError(f"a capability is one of {', '.join(NAMES)}")
        bits |= NAMES[word]
    return bits


def _legacy(value: Value) -> int:
    if not isinstance(value, str) or value not in LEGACY:
        raise ValueError(f"it is one of {', '.join(LEGACY)}; newer policies say capabilities = […]")
    return LEGACY[value]


def _strings(value: Value) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("a list of strings is wanted")
    words = tuple(word for word in value if isinstance(word, str))
    if len(words) != len(value):
        raise ValueError("a list of strings is wanted")
    return words


def _parameters(value: Value) -> dict[str, tuple[Any, ...]]:
    if not isinstance(value, Block):
        raise ValueError("a map of lists is wanted")
    found: dict[str, tuple[Any, ...]] = {}
    for entry in value.entries:
        key = entry.keys[0].lower()
        if len(entry.keys) > 1 or not isinstance(entry.value, list) or key in found:
            raise ValueError("a map of lists is wanted, each name once")
        found[key] = tuple(_plain(item) for item in entry.value)
    return found


def _plain(value: Value) -> Any:
    """The value as a request's JSON would hold it; the depth is bounded by the grammar."""
    if isinstance(value, Block):
        return {entry.keys[0]: _plain(entry.value) for entry in value.entries}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _required(value: Value) -> tuple[str, ...]:
    return tuple(word.lower() for word in _strings(value))


def _ttl(value: Value) -> int:
    seconds = Duration.parse(value)
    if seconds < 0:
        raise ValueError("a TTL is not negative")
    return int(seconds)


def _comment(value: Value) -> str:
    if not isinstance(value, str):
        raise ValueError("text is wanted")
    return value


_READERS: dict[str, tuple[str, Callable[[Value], Any]]] = {
    "policy": ("policy", _legacy),
    "capabilities": ("capabilities", _capabilities),
    "comment": ("comment", _comment),
    "allowed_parameters": ("allowed", _parameters),
    "denied_parameters": ("denied", _parameters),
    "required_parameters": ("required", _required),
    "min_wrapping_ttl": ("min_wrapping_ttl", _ttl),
    "max_wrapping_ttl": ("max_wrapping_ttl", _ttl),
}

__all__ = ["Policy", "Rule", "labelled_blocks", "on", "parse_policy", "shown"]
