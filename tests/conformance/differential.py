"""The same requests to two servers, and what differs between their answers.

A table is a text file: one request a line, ``[@who] [Header:value …] METHOD path [JSON]``; a line that begins
with ``>`` keeps something of the last answer: ``> name = dotted.path``, for ``{name}`` in later lines. ``#``
begins a section, whose name is part of what a difference is listed under.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.servers import ROOT_TOKEN, Reply, Server

_LINE = re.compile(
    r"(?:@(?P<who>\w+)\s+)?(?P<headers>(?:[\w-]+:\S*\s+)*)(?P<method>[A-Z]+)(?:\s+(?P<path>\S+))?(?:\s+(?P<body>.*))?\Z"
)
_ID = re.compile(r"\b([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|\w+_[0-9a-f]{8}|[A-Za-z0-9]{24})\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")

_OPAQUE = ("$.openapi.", "$.paths.", "$.components.")  # OpenAPI documents name every path and type


@dataclass(frozen=True)
class Request:
    """A line of a table. ``keeps`` maps names to places in the answer."""

    section: str
    who: str
    headers: Mapping[str, str]
    method: str
    path: str
    body: str
    keeps: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What it is called in lists of differences."""
        who = f"@{self.who} " if self.who else ""
        head = "".join(f"{name}:{value} " for name, value in self.headers.items())
        return f"{self.section}: {who}{head}{self.method} {self.path} {self.body}".strip()


def load(paths: Iterable[Path]) -> list[Request]:
    """The requests of tables, in order."""
    return [request for path in paths for request in _parse(path.read_text())]


def _parse(text: str) -> Iterator[Request]:
    section, last = "", None
    for line in text.splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith(">") and last is not None:
            name, _, place = line[1:].partition("=")
            last.keeps[name.strip()] = place.strip()
        elif line.strip():
            if last is not None:
                yield last
            last = _request(section, line)
    if last is not None:
        yield last


def _request(section: str, line: str) -> Request:
    found = _LINE.match(line)
    if found is None:
        raise ValueError(f"not a request: {line}")
    headers = dict(pair.split(":", 1) for pair in found["headers"].split())
    return Request(
        section, found["who"] or "", headers, found["method"], found["path"] or "", found["body"] or ""
    )


@dataclass
class Caller:
    """Sends requests to one server; ``kept`` is what later ones need, and tokens by their holder's name."""

    server: Server
    kept: dict[str, str]

    def send(self, request: Request) -> Reply:
        """Send it with what was kept filled in."""
        body = self._fill(request.body).encode() if request.body else None
        token = {"": ROOT_TOKEN, "none": "", "bad": "nonsense"}.get(request.who) or self.kept.get(
            request.who, ""
        )
        reply = self.server.send(
            request.method, self._fill(request.path), body, token=token, headers=request.headers
        )
        for name, place in request.keeps.items():
            self.kept[name] = str(dig(reply.json, place))
        return reply

    def _fill(self, text: str) -> str:
        for name, value in self.kept.items():
            text = text.replace("{" + name + "}", value)
        return text


def dig(value: Any, place: str) -> Any:
    """What stands at ``a.b.0`` of a decoded body; None where nothing does."""
    for step in place.split("."):
        if isinstance(value, list):
            value = value[int(step)] if int(step) < len(value) else None
        else:
            value = (value or {}).get(step)
    return value


def differences(theirs: Reply, ours: Reply) -> list[str]:
    """What differs, one text each: status, content type, and places with other JSON types or flags."""
    found = []
    if theirs.status != ours.status:
        found.append(f"status {theirs.status} -> {ours.status}")
    elif _kind(theirs) != _kind(ours):
        found.append(f"content {_kind(theirs)} -> {_kind(ours)}")
    before, after = shape(_decoded(theirs)), shape(_decoded(ours))
    if ("$.errors" in before) != ("$.errors" in after):  # of course all else differs, too
        return found or ["an error -> none" if "$.errors" in before else "no error -> one"]
    for place in sorted(before.keys() | after.keys()):
        if place.startswith(_OPAQUE):
            continue
        was, is_ = before.get(place, "absent"), after.get(place, "absent")
        if was != is_ and not _is_implied(place, before, after):
            found.append(f"{place} {was} -> {is_}")
    return found


def _is_implied(place: str, before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether a place above differs already, so that everything below does."""
    while above := _above(place):
        if before.get(above) != after.get(above):
            return True
        place = above
    return False


def _above(place: str) -> str:
    return place.removesuffix("[]") if place.endswith("[]") else place.rpartition(".")[0]


def _kind(reply: Reply) -> str:
    return reply.headers.get("content-type", "none") if reply.text else "none"


def _decoded(reply: Reply) -> Any:
    try:
        return reply.json
    except ValueError:
        return "no JSON"


def shape(value: Any, place: str = "$") -> dict[str, str]:
    """Places of a JSON value and their types; true, false, null and empty are types of their own.

    Identities among keys are one name; a list has the shape of its first element.
    """
    if isinstance(value, dict):
        found = {place: "object" if value else "empty object"}
        for key, below in value.items():
            found |= shape(below, f"{place}.{_ID.sub('ID', key.replace('.', '_'))}")
        return found
    if isinstance(value, list):
        found = {place: "list" if value else "empty list"}
        return found | (shape(value[0], f"{place}[]") if value else {})
    return {place: _type(value)}


def _type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return "number" if value else "0"
    if not value:
        return "empty text"
    return "time" if _TIME.match(value) else "text"
