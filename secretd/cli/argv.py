"""Go's flags made click's: ``-format=json`` is ``--format=json``, ``-force=true`` is ``--force``.

Fingers and scripts trained on ``vault`` and ``bao`` write single dashes. Rewriting needs to know which
options take a value, or the value ``-x`` of ``--description -x`` would be rewritten as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SINGLE = re.compile(r"-[A-Za-z][\w-]+(?:=.*)?\Z", re.DOTALL)
_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


@dataclass(frozen=True)
class Spelling:
    """How one option is written: does it take a value, and which flag turns it off, if any."""

    takes_value: bool
    opposite: str = ""


def normalise(args: Sequence[str], known: Mapping[str, Spelling], *, interspersed: bool = True) -> list[str]:
    """Return the arguments as click wants them; from ``--`` on (or the first word) nothing changes.

    ``known`` maps each option as written (``--format``) to its spelling. ``interspersed`` is false
    for groups and for commands that end in somebody else's command line.
    """
    out: list[str] = []
    rest = iter(args)
    for arg in rest:
        if arg == "--" or (not interspersed and not arg.startswith("-")):
            return [*out, arg, *rest]
        out.extend(_rewrite(arg, known, rest))
    return out


def _rewrite(arg: str, known: Mapping[str, Spelling], rest: Iterator[str]) -> Iterator[str]:
    option = f"-{arg}" if _SINGLE.match(arg) and arg not in known else arg
    name, equals, value = option.partition("=")
    spelling = known.get(name)
    if spelling is None:
        yield option
    elif spelling.takes_value:
        yield option
        if not equals:
            yield from _following(rest)
    else:
        yield from _flag(option, name=name, value=value.lower() if equals else "true", spelling=spelling)


def _following(rest: Iterator[str]) -> Iterator[str]:
    for value in rest:
        yield value
        return


def _flag(option: str, *, name: str, value: str, spelling: Spelling) -> Iterator[str]:
    if value in _TRUE:
        yield name
    elif value not in _FALSE:
        yield option  # click explains that it takes no value
    elif spelling.opposite:
        yield spelling.opposite
