"""The named queries: SQL lives in ``sql/queries/*.sql``, Python only knows names.

A query reads::

    -- name: claim_due_leases
    -- Take the leases that are due, so that no other daemon does.
    -- $1 generation
    WITH due AS (…)

The first comment is its name (verb_noun), the next a sentence of purpose, then one line for each
parameter with its meaning. Files are read once, at the first use.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import LiteralString

_HEAD = re.compile(r"^-- name:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"[a-z]+(?:_[a-z0-9]+)+")
_PARAMETER = re.compile(r"--\s*\$(\d+)\s+(\S.*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One statement. ``parameters`` are the meanings of $1, $2, … in order."""

    name: str
    purpose: str
    parameters: tuple[str, ...]
    text: LiteralString  # package data: as literal as the source itself


def parse_queries(text: str, *, source: str) -> dict[str, Query]:
    """The queries of one file, by name; raise ValueError that names the file and the query."""
    pieces = _HEAD.split(text)
    if _statement(pieces[0]):
        raise ValueError(f"{source}: a statement stands before the first '-- name:'")
    found: dict[str, Query] = {}
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{source}: {name!r} is not verb_noun")
        if name in found:
            raise ValueError(f"{source}: {name} is there twice")
        found[name] = _parse_query(name, body, source=source)
    return found


def _parse_query(name: str, body: str, *, source: str) -> Query:
    purpose, meanings = [], {}
    for line in body.strip().splitlines():
        if not line.startswith("--"):
            break
        if parameter := _PARAMETER.fullmatch(line.strip()):
            meanings[int(parameter[1])] = parameter[2]
        elif not meanings:
            purpose.append(line.removeprefix("--").strip())
    statement = _statement(body)
    used = {int(number) for number in re.findall(r"\$(\d+)", statement)}
    if not statement or not re.fullmatch(r"[A-Z].*\.", " ".join(purpose)):
        raise ValueError(f"{source}: {name} needs a sentence of purpose and a statement")
    if used != set(meanings) or used != set(range(1, len(used) + 1)):
        raise ValueError(f"{source}: the parameters of {name} and their '-- $n meaning' lines differ")
    return Query(
        name=name,
        purpose=" ".join(purpose),
        parameters=tuple(meanings[number] for number in sorted(meanings)),
        text=statement,
    )


def _statement(body: str) -> str:
    """The SQL without whole-line comments, so that the server parses and logs less."""
    lines = (line for line in body.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).strip().rstrip(";")


@functools.cache
def _load() -> Mapping[str, Query]:
    found: dict[str, Query] = {}
    folder = resources.files("secretd.storage") / "sql" / "queries"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".sql"):
            continue
        parsed = parse_queries(file.read_text(encoding="utf-8"), source=file.name)
        if twice := found.keys() & parsed.keys():
            raise ValueError(f"{file.name}: {min(twice)} is there twice")
        found |= parsed
    return MappingProxyType(found)


class _Queries(Mapping[str, Query]):
    """Read at the first look, not at import."""

    def __getitem__(self, name: str) -> Query:
        return _load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_load())

    def __len__(self) -> int:
        return len(_load())


QUERIES: Mapping[str, Query] = _Queries()


def sql(name: str) -> LiteralString:
    """The text of a named query; raise KeyError for a name that is in no file."""
    return _load()[name].text
