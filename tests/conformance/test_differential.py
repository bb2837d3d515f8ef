"""The same requests to ``bao server -dev`` and to secretd: status, envelope and JSON types are compared."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.differences import EXTRAS, LISTED
from conformance.differential import Caller, Request, differences, load
from conformance.postgres import Target
from conformance.servers import ROOT_TOKEN, Server, dev_command, free_listen, running

TABLES = sorted(Path(__file__).parent.joinpath("requests").glob("*.txt"))
SECOND = os.environ.get("SECRETD_DIFFERENTIAL_SECOND", "secretd")  # "bao" tries the harness on equals


@pytest.fixture
def pair(
    tmp_path: Path, storage_for_daemon: Callable[[], contextlib.AbstractContextManager[str]]
) -> Iterator[tuple[Server, Server]]:
    """OpenBao and secretd in dev mode."""
    with contextlib.ExitStack() as stack:
        storage = stack.enter_context(storage_for_daemon())
        servers = []
        for number, target in enumerate(("bao", SECOND)):
            listen, folder = free_listen(), tmp_path / f"{number}-{target}"
            folder.mkdir()
            command = dev_command(target, listen, storage=storage)
            servers.append(stack.enter_context(running(target, listen, folder, command)))
            servers[-1].root_token = ROOT_TOKEN
            servers[-1].await_active()
        yield servers[0], servers[1]


@pytest.fixture
def given(pg_target: Target) -> dict[str, str]:
    """What the tables' first lines need, ready to stand within JSON texts."""
    known = {
        "target_url": pg_target.url,
        "admin": pg_target.username,
        "admin_password": pg_target.password,
        "creation": pg_target.creation[0],
    }
    return {name: json.dumps(value)[1:-1] for name, value in known.items()}


@pytest.mark.timeout(600)
def test_answers_differ_only_where_it_is_listed(pair: tuple[Server, Server], given: dict[str, str]) -> None:
    """Every difference has a reason, and every reason still has its difference."""
    theirs, ours = (Caller(server, dict(given)) for server in pair)
    found = [(request, _compare(request, theirs, ours)) for request in load(TABLES)]
    used: Counter[int] = Counter()
    unlisted = []
    for request, texts in found:
        for text in texts:
            covering = [number for number, one in enumerate(LISTED) if one.covers(request.label, text)]
            used.update(covering)
            if not covering:
                unlisted.append((request, text))
    print(_table(found, {id(request) for request, _ in unlisted}))
    for request, text in unlisted:
        print(f"{request.label[:150]}\n    {text}")
    stale = [one for number, one in enumerate(LISTED) if not used[number]]
    assert not unlisted, f"{len(unlisted)} differences are not listed"
    assert not stale, f"nothing differs so any more: {stale}"


def _compare(request: Request, theirs: Caller, ours: Caller) -> list[str]:
    return differences(theirs.send(request), ours.send(request))


def _table(found: list[tuple[Request, list[str]]], unlisted: set[int]) -> str:
    """Requests by section: how many, equal ones (errors' extras aside), listed differences, others."""
    rows: dict[str, Counter[str]] = {}
    for request, texts in found:
        row = rows.setdefault(request.section, Counter())
        telling = [text for text in texts if not any(extra.covers(request.label, text) for extra in EXTRAS)]
        kind = "equal" if not telling else "unlisted" if id(request) in unlisted else "listed"
        row.update([kind, "all"])
    total = sum(rows.values(), Counter())
    lines = [f"{'section':<22}{'all':>6}{'equal':>8}{'listed':>8}{'unlisted':>10}"]
    lines += [
        f"{name:<22}{row['all']:>6}{row['equal']:>8}{row['listed']:>8}{row['unlisted']:>10}"
        for name, row in [*rows.items(), ("total", total)]
    ]
    return "\n".join(lines)
