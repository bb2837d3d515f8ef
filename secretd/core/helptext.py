"""Help and OpenAPI, both produced from the tables of paths: what is not in a table is not in them either.

A row's handler says in its docstring what it does; its Struct says what it takes. Built when asked for, never kept.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from secretd.core.router import Route
from secretd.sdk.errors import UnsupportedPathError
from secretd.sdk.fields import Duration, Sensitive, Strings
from secretd.sdk.path import Path
from secretd.sdk.request import DELETE, LIST, PATCH, READ, UPDATE
from secretd.sdk.secret_type import Issues

Shape = dict[str, Any]  # a JSON schema
_HOLE = re.compile(r"\{(\w+)\*?\}")
_METHODS = {READ: "get", LIST: "get", UPDATE: "post", PATCH: "patch", DELETE: "delete"}
_SCHEMAS: dict[type, Shape] = {
    Duration: {"type": "string", "format": "duration", "examples": ["1h30m", "60"]},
    Sensitive: {"type": "string", "format": "password"},
    Strings: {"type": "array", "items": {"type": "string"}},
}
_OK = {"200": {"description": "OK"}}
_NO_CONTENT = {"204": {"description": "No Content"}}


def help_of(route: Route, rest: str) -> dict[str, Any]:
    """Vault's answer to ``?help=1`` for a path in a mount; UnsupportedPathError if no row has it."""
    if not rest.strip("/"):
        return {"help": _mount_help(route), "see_also": None, "openapi": openapi([route], is_relative=True)}
    rows = [row for row in route.table.rows if row.match(rest) is not None]
    if not rows:
        raise UnsupportedPathError
    # A catch-all matches everything; the help of a path is that of the rows that name it first.
    rows = [row for row in rows if row.pattern == rows[0].pattern]
    document = openapi([route], is_relative=True, only=rows)
    return {"help": _path_help(rows, rest), "see_also": None, "openapi": document}


def openapi(
    routes: Iterable[Route],
    *,
    is_relative: bool = False,
    only: Sequence[Path] | None = None,
    version: str = "",
) -> dict[str, Any]:
    """An OpenAPI 3.0 document of mounts; ``is_relative``: paths without the mount's."""
    paths: dict[str, dict[str, Any]] = {}
    rows = [(route, row) for route in routes for row in (route.table.rows if only is None else only)]
    shapes, nested = _schemas([row for _, row in rows])
    for route, row in rows:
        prefix = "" if is_relative else route.record.path
        place = paths.setdefault("/" + prefix + _HOLE.sub(r"{\1}", row.pattern), {})
        _describe(place, row, prefix=prefix, shape=shapes[row.fields])
    info = {
        "title": "secretd",
        "description": "Secrets over HTTP. All paths are below `/v1/`.",
        "version": version,
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    }
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": nested}}


def sentence_of(row: Path) -> str:
    """What a row does, in its own words."""
    handler = row.handler.secret_type.prepare if isinstance(row.handler, Issues) else row.handler
    return inspect.getdoc(handler) or ""


def _describe(place: dict[str, Any], row: Path, *, prefix: str, shape: Shape) -> None:
    """Add a row to its path's entry. LIST is a GET with a query, and shares the method with READ."""
    holes = _HOLE.findall(row.pattern)
    if holes:
        place["parameters"] = [
            _parameter(hole, {"type": "string"}, where="path", required=True) for hole in holes
        ]
    if row.sudo:
        place["x-vault-sudo"] = True
    if row.open or row.while_sealed:
        place["x-vault-unauthenticated"] = True
    if row.exists is not None:
        place["x-vault-createSupported"] = True
    method = _METHODS[row.operation]
    entry: dict[str, Any] = {
        "summary": sentence_of(row).partition("\n")[0],
        "operationId": _operation_id(row, prefix),
        "responses": _NO_CONTENT if row.operation is DELETE else _OK,
    }
    own = _without(shape, set(holes))
    if row.operation in {UPDATE, PATCH} and own["properties"]:
        entry["requestBody"] = {"required": True, "content": {"application/json": {"schema": own}}}
    elif row.operation is LIST:
        # Where the path can be read as well, the query is what tells the two apart.
        is_only = method not in place
        entry["parameters"] = [_parameter("list", {"type": "string", "enum": ["true"]}, required=is_only)]
    elif row.operation is READ and own["properties"]:
        entry["parameters"] = [_parameter(name, kind) for name, kind in own["properties"].items()]
    if method in place:
        place[method].setdefault("parameters", []).extend(entry.get("parameters", []))
    else:
        place[method] = entry


def _parameter(name: str, shape: Shape, *, where: str = "query", required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": shape}


def _operation_id(row: Path, prefix: str) -> str:
    words = re.findall(r"[a-z0-9]+", f"{row.operation.value} {prefix} {row.pattern}".lower())
    return "-".join(words)


def _without(shape: Shape, holes: set[str]) -> Shape:
    """A Struct's schema without what the path says already."""
    properties = {name: kind for name, kind in shape.get("properties", {}).items() if name not in holes}
    own: Shape = {"type": "object", "properties": properties}
    required = [name for name in shape.get("required", ()) if name not in holes]
    return {**own, "required": required} if required else own


def _schemas(rows: Sequence[Path]) -> tuple[dict[type, Shape], Shape]:
    """The rows' Structs, and by name what is nested in them. One at a time: families may share names."""
    own: dict[type, Shape] = {}
    nested: Shape = {}
    for struct in dict.fromkeys(row.fields for row in rows):
        (top,), parts = msgspec.json.schema_components(
            [struct], schema_hook=_schema_of, ref_template="#/components/schemas/{name}"
        )
        own[struct] = parts.pop(top.get("$ref", "").rpartition("/")[2], top)
        nested.update(parts)
    return own, nested


def _schema_of(kind: type) -> dict[str, Any]:
    return _SCHEMAS.get(kind, {})


def _mount_help(route: Route) -> str:
    lines = ["## DESCRIPTION", "", route.engine.help or route.engine.type, "", "## PATHS", ""]
    seen: set[str] = set()
    for row in sorted(route.table.rows, key=lambda row: row.pattern):
        if row.pattern not in seen:
            seen.add(row.pattern)
            lines += [f"    {row.pattern}", f"        {sentence_of(row).partition(chr(10))[0]}", ""]
    return "\n".join(lines).rstrip()


def _path_help(rows: Sequence[Path], rest: str) -> str:
    lines = [f"Request:        {rest}", f"Matching Route: {rows[0].pattern}", ""]
    shapes, _ = _schemas(rows)
    for row in rows:
        lines += [f"## {row.operation.value.upper()}", "", sentence_of(row), ""]
        if row.sudo:
            lines += ["Needs the capability sudo as well.", ""]
        properties = shapes[row.fields].get("properties", {})
        for name, shape in sorted(properties.items()):
            lines.append(f"    {name} ({_kind(shape)})")
        if properties:
            lines.append("")
    return "\n".join(lines).rstrip()


def _kind(shape: dict[str, Any]) -> str:
    if "anyOf" in shape:
        kinds = [_kind(part) for part in shape["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if shape.get("format") in {"duration", "password"}:
        return "duration" if shape["format"] == "duration" else "secret text"
    return str(shape.get("type", "any"))
