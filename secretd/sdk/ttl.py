"""The one TTL rule. Pure: no clock, no I/O.

A span is bounded by several limits, each with a name. The least wins, and when it is not the one the
caller would expect (what was asked for), a sentence names it (pains P14).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Limit:
    """A bound in seconds; 0 or None seconds = no bound."""

    name: str
    seconds: float | None


@dataclass(slots=True, frozen=True)
class Span:
    """The result, in whole seconds, and the sentence for ``warnings`` ("" = nothing was cut)."""

    seconds: int
    warning: str = ""


def shortest(wanted: int, *limits: Limit) -> Span:
    """Return ``wanted`` cut to the least of the limits.

    >>> shortest(60, Limit("the role's max_ttl", 30))
    Span(seconds=30, warning="TTL of 60s was cut to 30s by the role's max_ttl")
    """
    binding = min(
        (limit for limit in limits if limit.seconds), key=lambda limit: limit.seconds or 0, default=None
    )
    # A fraction of a second less is no news: it passed while the request was under way.
    if binding is None or binding.seconds is None or wanted <= math.ceil(binding.seconds):
        return Span(wanted)
    cut = max(int(binding.seconds), 0)
    return Span(cut, f"TTL of {wanted}s was cut to {cut}s by {binding.name}")
