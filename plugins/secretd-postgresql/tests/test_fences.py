"""The fence: a CREATE that is late, held or lost never outlives the proof that its account is absent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from secretd.sdk.errors import TargetError, TargetUnavailableError
from secretd.sdk.plugin import Recipe


class Proxy:
    """A way to the target that can hold back what clients say, and deliver it after they have gone."""

    def __init__(self, host: str, port: int) -> None:
        self.place = (host, port)
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.held = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(*self.place)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pump(reader, forth, gate=True))
            tasks.create_task(self.pump(back, writer, gate=False))

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, gate: bool) -> None:
        """Carry on after either side has gone: what was said is said."""
        try:
            while data := await source.read(65536):
                if gate and not self.is_open.is_set():
                    self.held.set()
                    await self.is_open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


@asynccontextmanager
async def proxied(case: Any) -> AsyncIterator[tuple[Proxy, dict[str, Any]]]:
    proxy = Proxy(case.host, case.port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = case.url.replace(f":{case.port}/", f":{port}/")
        yield proxy, await case.describe(connection_url=url)
        proxy.is_open.set()


async def until_past(case: Any, user: Any) -> None:
    async with asyncio.timeout(20):
        while True:
            (verdict,) = await case.delete(user, was_issued=False)
            assert verdict.outcome == "absent", verdict
            if verdict.past:
                return


async def test_create_delivered_late_is_refused(case: Any) -> None:
    """A CREATE that reaches the target after its lease was proved dead does nothing."""
    async with proxied(case) as (proxy, config):
        await case.plugin.verify(config)  # a session is open
        moment = await case.now()
        user = case.user(moment, target_deadline=moment + timedelta(seconds=0.5))
        proxy.is_open.clear()
        task = asyncio.create_task(case.plugin.create_user(config, user))
        await proxy.held.wait()
        await until_past(case, user)
        proxy.is_open.set()
        with pytest.raises(TargetError, match="the deadline passed"):
            await task
    assert await case.list_accounts() == set()


async def test_create_whose_caller_left_is_refused_late(case: Any) -> None:
    """The same when the caller was cancelled meanwhile and nobody reads the answer."""
    async with proxied(case) as (proxy, config):
        await case.plugin.verify(config)
        moment = await case.now()
        user = case.user(moment, target_deadline=moment + timedelta(seconds=0.5))
        proxy.is_open.clear()
        task = asyncio.create_task(case.plugin.create_user(config, user))
        await proxy.held.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_past(case, user)
        proxy.is_open.set()
        await case.plugin.verify(case.config)
    assert await case.list_accounts() == set()


async def test_holder_is_ended_past_the_deadline(case: Any) -> None:
    """A CREATE held uncommitted past its deadline is busy, then ended; its account never appears."""
    recipe = Recipe(creation=('CREATE ROLE "{{name}}"', f"SELECT pg_advisory_xact_lock({case.gate})"))
    async with case.superuser() as gate:
        await gate.execute(f"SELECT pg_advisory_lock({case.gate})")
        moment = await case.now()
        user = case.user(moment, recipe=recipe, target_deadline=moment + timedelta(seconds=0.7))
        task = asyncio.create_task(case.plugin.create_user(case.config, user))
        await case.wait_for(
            gate, f"SELECT count(*) = 1 FROM pg_locks WHERE objid = {case.gate} AND NOT granted"
        )
        (verdict,) = await case.delete(user, was_issued=False)
        assert verdict.outcome == "busy"
        await case.wait_for(gate, "SELECT clock_timestamp() >= $1", user.target_deadline)
        (verdict,) = await case.delete(user, was_issued=False)
        assert verdict.outcome == "busy"
        with pytest.raises(TargetUnavailableError):
            await task
        (verdict,) = await case.delete(user, was_issued=False)
    assert (verdict.outcome, verdict.past) == ("absent", True)
    assert await case.list_accounts() == set()


async def test_child_killed_during_create(case: Any, supervisor: Any) -> None:
    """The child's death during a CREATE is silence, and the next call finds another child."""
    moment = await case.now()
    user = case.user(moment)
    async with case.superuser() as gate:
        await gate.execute(f"SELECT pg_advisory_lock({case.gate})")
        recipe = Recipe(creation=('CREATE ROLE "{{name}}"', f"SELECT pg_advisory_xact_lock({case.gate})"))
        held = msgspec.structs.replace(user, recipe=recipe)
        task = asyncio.create_task(case.plugin.create_user(case.config, held))
        await case.wait_for(
            gate, f"SELECT count(*) = 1 FROM pg_locks WHERE objid = {case.gate} AND NOT granted"
        )
        supervisor.kill("postgresql-database-plugin")
        with pytest.raises(TargetUnavailableError):
            await task
        (verdict,) = await case.delete(user, was_issued=False)
        assert verdict.outcome == "busy"  # its statement runs on without its client
    async with asyncio.timeout(20):
        while verdict.outcome == "busy":
            (verdict,) = await case.delete(user, was_issued=False)
    assert verdict.outcome == "absent"
    assert await case.list_accounts() == set()


async def test_parallel_creates_of_a_grant_recipe(case: Any) -> None:
    """A hundred parallel creations that all write one table's rights: no error reaches a caller (P28)."""
    async with case.superuser() as connection:
        await connection.execute("CREATE TABLE app.t ()")
        await connection.execute(f'ALTER TABLE app.t OWNER TO "{case.admin}"')
        await connection.execute(f'GRANT ALL ON SCHEMA app TO "{case.admin}"')
    recipe = Recipe(
        creation=(
            """CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';
            GRANT SELECT ON app.t TO "{{name}}";""",
        )
    )
    users = [case.user(await case.now(), recipe=recipe) for _ in range(100)]
    async with asyncio.TaskGroup() as tasks:
        for user in users:
            tasks.create_task(case.plugin.create_user(case.config, user))
    assert {verdict.outcome for verdict in await case.delete(*users)} == {"absent"}
    assert await case.list_accounts() == set()


async def test_name_is_never_taken_over(case: Any) -> None:
    """A second CREATE of a name is refused definitely; the first account keeps its password."""
    user = await case.create()
    again = case.user(await case.now(), name=user.name)
    with pytest.raises(TargetError, match="duplicate_object"):
        await case.plugin.create_user(case.config, again)
    assert await case.probe(user)
    assert not await case.probe(again)
