"""Fills ``{{…}}`` in a rule's path with what is known of the holder; what cannot be filled grants nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

# From a reference such as `identity.entity.id` to its value, or None where the holder has none.
Expand: TypeAlias = Callable[[str], str | None]

_REFERENCE = re.compile(r"\{\{([^{}]*)\}\}")
# A user named `*` must not widen the rule, nor one named `a/b` reach another segment.
_FORBIDDEN = frozenset("*+/,{}\\%")


def expand_path(path: str, expand: Expand | None) -> str | None:
    """Return the path with every reference filled, or None if one has no value fit for a path."""
    if "{{" not in path:
        return path
    if expand is None:
        return None
    values = {reference: expand(reference.strip()) or "" for reference in _REFERENCE.findall(path)}
    if not all(_is_fit(value) for value in values.values()):
        return None
    return _REFERENCE.sub(lambda match: values[match[1]], path)


def _is_fit(value: str) -> bool:
    return value not in {"", ".", ".."} and value.isprintable() and not _FORBIDDEN & set(value)
