"""Help and OpenAPI: both are what the tables say, all of it and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from secretd.core.helptext import sentence_of
from secretd.sdk.errors import NotFoundError
from secretd.sdk.request import HELP


async def _help(client: Any, path: str) -> dict[str, Any]:
    body: dict[str, Any] = (await client.ask(HELP, path)).body
    return body


async def test_every_row_says_what_it_does(root: Any) -> None:
    """Each row of every mount has a sentence: it is the path's help."""
    await root.write("sys/mounts/db", type="database")
    await root.write("sys/auth/up", type="userpass")
    await root.write("sys/auth/role", type="approle")
    for route in root.core.parts.caches.router.routes:
        for row in route.table.rows:
            assert sentence_of(row), f"{route.record.path}{row.pattern}"


async def test_help_of_a_path(root: Any) -> None:
    """Help names the route, its operations and its fields, as Vault's answer does in shape."""
    body = await _help(root, "auth/token/create")
    assert set(body) == {"help", "see_also", "openapi"}
    assert "Matching Route: create\n" in body["help"]
    assert "    ttl (duration)" in body["help"]
    assert list(body["openapi"]["paths"]) == ["/create"]


async def test_help_of_a_mount(root: Any) -> None:
    """Help of a mount lists its paths."""
    body = await _help(root, "sys")
    for pattern in ("leases/lookup", "mounts/{path*}/tune", "health"):
        assert f"\n    {pattern}\n" in body["help"]


@pytest.mark.parametrize("path", ["nowhere/x", "sys/nothing/here"])
async def test_help_of_nothing(root: Any, path: str) -> None:
    """What is not there has no help."""
    with pytest.raises(NotFoundError):
        await _help(root, path)


async def test_openapi_has_every_row(root: Any) -> None:
    """Every row of every mount is in the document, once; sudo and open rows are marked; it is JSON."""
    await root.write("sys/mounts/db", type="database")
    document = await root.read("sys/internal/specs/openapi")
    json.dumps(document)
    routes = root.core.parts.caches.router.routes
    wanted = {
        "/" + route.record.path + re.sub(r"\*\}", "}", row.pattern)
        for route in routes
        for row in route.table.rows
    }
    assert set(document["paths"]) == wanted
    assert document["paths"]["/sys/audit"]["x-vault-sudo"] is True
    assert document["paths"]["/sys/health"]["x-vault-unauthenticated"] is True
    ids = [
        entry["operationId"]
        for place in document["paths"].values()
        for entry in place.values()
        if _is_entry(entry)
    ]
    assert len(ids) == len(set(ids))


async def test_references_lead_somewhere(root: Any) -> None:
    """Each reference of the document names one of its schemas."""
    document = await root.read("sys/internal/specs/openapi")
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named <= set(document["components"]["schemas"])


async def test_openapi_shows_what_a_token_may_use(root: Any) -> None:
    """A token sees the mounts below which it may do something, and no other."""
    await root.write("sys/mounts/kv", type="kv")
    token = await root.new_token(
        'path "kv/*" { capabilities = ["read"] }\npath "sys/internal/specs/openapi" { capabilities = ["read"] }',
        no_default_policy=True,
    )
    document = await token.read("sys/internal/specs/openapi")
    assert {path.split("/")[1] for path in document["paths"]} == {"kv", "sys"}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and "operationId" in entry
