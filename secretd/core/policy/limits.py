"""What a rule demands of a request's parameters and of its wrapping, and how such demands add up.

Adding follows Vault, surprises included: a rule without ``allowed_parameters`` does not lift those of
another on the same path, and of two wrapping TTLs the shorter counts. Two differences, on purpose: a number in
an allowed list matches that number (Vault's never matches), and a denied value is found in lists and texts too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secretd.core.policy.model import Limits
from secretd.sdk.errors import PermissionDeniedError

_Values = tuple[Any, ...]


def merge_limits(one: Limits | None, other: Limits | None) -> Limits | None:
    """Return the demands of both."""
    if one is None or other is None:
        return one or other
    return Limits(
        allowed=_merge_values(one.allowed, other.allowed),
        denied=_merge_values(one.denied, other.denied),
        required=tuple(dict.fromkeys((*one.required, *other.required))),
        min_wrapping_ttl=_shorter(one.min_wrapping_ttl, other.min_wrapping_ttl),
        max_wrapping_ttl=_shorter(one.max_wrapping_ttl, other.max_wrapping_ttl),
    )


def _shorter(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other


def _merge_values(one: dict[str, _Values], other: dict[str, _Values]) -> dict[str, _Values]:
    merged = dict(one)
    for name, values in other.items():
        # An empty list means any value, and any value plus some is any value.
        merged[name] = () if not values or not merged.get(name, values) else merged.get(name, ()) + values
    return merged


def require_wrapping(limits: Limits, wrap_ttl: int | None) -> None:
    """Raise PermissionDeniedError unless the answer will be wrapped for as many seconds as demanded."""
    if not limits.min_wrapping_ttl and not limits.max_wrapping_ttl:
        return
    longest = limits.max_wrapping_ttl or float("inf")
    # Merged rules can leave a window that nothing fits; then nothing passes, as in Vault.
    if wrap_ttl is None or not limits.min_wrapping_ttl <= wrap_ttl <= longest:
        raise PermissionDeniedError


def require_parameters(limits: Limits, data: Mapping[str, Any] | None) -> None:
    """Raise PermissionDeniedError unless the request's parameters are as demanded."""
    data = data or {}
    if any(name not in data for name in limits.required):
        raise PermissionDeniedError
    if data and "*" in limits.denied:
        raise PermissionDeniedError
    for name, value in data.items():
        _require_parameter(limits, name.lower(), value)


def _require_parameter(limits: Limits, name: str, value: Any) -> None:
    denied = limits.denied.get(name)
    if denied is not None and (not denied or any(_is_denied(value, pattern) for pattern in denied)):
        raise PermissionDeniedError
    if not limits.allowed:
        return
    allowed = limits.allowed.get(name)
    if allowed is None and "*" not in limits.allowed:
        raise PermissionDeniedError
    if allowed and not any(_is_equal(value, pattern) for pattern in allowed):
        raise PermissionDeniedError


def _is_equal(value: Any, pattern: Any) -> bool:
    """Whether the value is the pattern; in text a ``*`` at either end stands for anything."""
    if isinstance(value, str) and isinstance(pattern, str):
        return _is_like(value, pattern)
    # True == 1 in Python; a rule that allows 1 did not allow true.
    if isinstance(value, bool) is not isinstance(pattern, bool):
        return False
    return bool(value == pattern)


def _is_like(value: str, pattern: str) -> bool:
    starts, ends = len(pattern) > 1 and pattern[0] == "*", len(pattern) > 1 and pattern[-1] == "*"
    core = pattern[starts : len(pattern) - ends]
    if starts and ends:
        return core in value
    if starts:
        return value.endswith(core)
    return value.startswith(core) if ends else value == pattern


def _is_denied(value: Any, pattern: Any) -> bool:
    """Wider than equality: `["root"]`, `"a,root"` and `1` must not slip past a denied `"root"` or `"1"`.

    Schemas take lists as text and numbers as text, so a denial looks at all the ways to say the value.
    """
    if _is_equal(value, pattern) or _as_text(value) == _as_text(pattern):
        return True
    if isinstance(value, str) and "," in value:
        value = [part.strip() for part in value.split(",")]
    return isinstance(value, list) and any(
        _is_equal(item, pattern) or _as_text(item) == _as_text(pattern) for item in value
    )


def _as_text(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return str(value).strip().lower()
    return f"{type(value)}{value!r}"
