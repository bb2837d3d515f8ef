"""What was made for an answer that nobody gets is ended: its client went, its record failed, its time was over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from secretd.sdk.errors import AuditError, PermissionDeniedError
from support.blocking import until_true
from support.clusters import Cluster
from support.daemons import store
from support.pairs import Asked, core

_OVER = "SELECT count(*) = 1 AND bool_and(state IN ('revoking', 'revoked') AND end_reason = 'undelivered') FROM leases"


@pytest.fixture
async def dsn(cluster: Cluster) -> AsyncIterator[str]:
    """An initialised store."""
    async with store(cluster) as made:
        yield made


@pytest.fixture
async def one(dsn: str, target_dsn: str, tmp_path: Path) -> AsyncIterator[Asked]:
    """A core with an audit device and a target."""
    async with core(dsn, node="one", audit_folder=str(tmp_path)) as made:
        await made.connect(target_dsn)
        await made.write(
            "sys/audit/file", {"type": "file", "options": {"file_path": str(tmp_path / "audit.log")}}
        )
        yield made


class Gate:
    """Holds the recording of the next answer until it is told what to do."""

    def __init__(self, one: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
        broker, _ = one.core.parts.audit.tools()
        self.reached, self._go_on, self._record = asyncio.Event(), asyncio.Event(), broker.record
        self.error: Exception | None = None
        monkeypatch.setattr(type(broker), "record", self.record)

    async def record(self, *entries: bytes) -> None:
        if any(b'"response":' in entry for entry in entries):
            self.reached.set()
            if self.error is not None:
                raise self.error
            await self._go_on.wait()
        await self._record(*entries)


@pytest.fixture
async def sql(dsn: str) -> AsyncIterator[Any]:
    """The test's own look at the store."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def test_a_client_that_goes_while_its_answer_is_recorded(
    one: Asked, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is active and the answer is on its way to the audit file: a client that goes now ends the lease."""
    gate = Gate(one, monkeypatch)
    asking = asyncio.create_task(one.read("db/creds/app"))
    await asyncio.wait_for(gate.reached.wait(), 20)
    assert await sql.fetchval("SELECT bool_and(state = 'active') FROM leases")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until_true(sql, _OVER)


async def test_a_request_whose_time_is_over_while_its_answer_is_recorded(
    one: Asked, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline of a request ends what was made for its answer, too."""
    gate = Gate(one, monkeypatch)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as deadline:
            asking = asyncio.create_task(gate.reached.wait())
            asking.add_done_callback(lambda _: deadline.reschedule(0))
            await one.read("db/creds/app")
    await until_true(sql, _OVER)


async def test_an_answer_that_cannot_be_recorded(
    one: Asked, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record, no answer: the client hears why, and neither lease nor token stay behind."""
    Gate(one, monkeypatch).error = AuditError()
    with pytest.raises(AuditError):
        await one.read("db/creds/app")
    await until_true(sql, _OVER)
    with pytest.raises(AuditError):
        await one.token(ttl="1h", policies=["default"])
    assert await sql.fetchval("SELECT count(*) FROM tokens WHERE state = 'active'") == 1


async def test_a_token_that_was_renewed_unheard_lives_on(
    one: Asked, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal gives out nothing new: when its answer cannot be recorded its holder keeps the token."""
    token = await one.token(ttl="1h", policies=["default"])
    gate = Gate(one, monkeypatch)
    gate.error = AuditError()
    with pytest.raises(AuditError):
        await one.write("auth/token/renew-self", token=token)
    monkeypatch.undo()
    assert (await one.read("auth/token/lookup-self", token=token)).data is not None


async def test_a_renewal_unheard_ends_no_lease(one: Asked, sql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a lease ended whose renewal's answer nobody got."""
    lease = (await one.read("db/creds/app")).lease
    assert lease is not None
    Gate(one, monkeypatch).error = AuditError()
    with pytest.raises(AuditError):
        await one.write("sys/leases/renew", {"lease_id": lease.id})
    assert await sql.fetchval("SELECT bool_and(state = 'active') FROM leases")


async def test_a_login_taken_back_is_refused(one: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of an answer that nobody got opens nothing."""
    seen: list[str] = []
    service = one.core.parts.token_service
    original = service.create

    async def look(*args: Any, **kwargs: Any) -> Any:
        response = await original(*args, **kwargs)
        seen.append(response.auth.client_token)
        return response

    monkeypatch.setattr(service, "create", look)
    gate = Gate(one, monkeypatch)
    asking = asyncio.create_task(one.token(ttl="1h", policies=["default"]))
    await asyncio.wait_for(gate.reached.wait(), 20)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    monkeypatch.undo()
    with pytest.raises(PermissionDeniedError):
        await one.read("auth/token/lookup-self", token=seen[0])
