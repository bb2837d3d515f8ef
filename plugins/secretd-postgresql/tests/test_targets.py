"""Targets that are down, slow, wrong or out of bounds: a clear error in time, and nobody else suffers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from secretd.core.plugins.catalog import PluginCatalog
from secretd.core.plugins.supervisor import PluginSupervisor
from secretd.sdk.errors import InvalidRequestError, TargetAuthError, TargetError, TargetUnavailableError
from secretd.sdk.plugin import Reach, Recipe, RenewUser

DEADLINE = 5.0


@asynccontextmanager
async def reaching(**reach: Any) -> AsyncIterator[Any]:
    catalog = PluginCatalog(allow=["secretd-postgresql"])
    async with PluginSupervisor(catalog, reach=Reach(**reach)) as supervisor:
        yield supervisor.database("secretd-postgresql")


@asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """A port that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


async def test_verify_shows_the_target(case: Any) -> None:
    """A login as the admin shows the target's clock and version, and that the admin is no superuser."""
    state = await case.plugin.verify(case.config)
    assert state.version.startswith(str(case.cluster.major))
    assert not state.is_superuser
    assert state.clock.tzinfo is not None
    assert state.warnings == ()


async def test_admin_without_rights_is_warned_about(case: Any) -> None:
    """An admin that cannot create roles is told so before the first lease fails."""
    user = await case.create()
    config = await case.describe(username=user.name, password=user.password)
    assert "CREATEROLE" in " ".join((await case.plugin.verify(config)).warnings)
    with pytest.raises(TargetError, match="insufficient_privilege"):
        await case.plugin.create_user(config, case.user(await case.now()))


async def test_wrong_password(case: Any) -> None:
    """The admin's login refused is an error of its own, without a value."""
    config = await case.describe(password="wrong")
    with pytest.raises(TargetAuthError) as caught:
        await case.plugin.verify(config)
    assert case.admin not in str(caught.value)


async def test_missing_database(case: Any) -> None:
    """A database that is not there is a definite refusal by class."""
    config = await case.describe(connection_url=case.url + "x")
    with pytest.raises(TargetError, match="invalid_catalog_name") as caught:
        await case.plugin.verify(config)
    assert not isinstance(caught.value, TargetUnavailableError)


async def test_closed_port(case: Any) -> None:
    """Nobody listening is unavailable, at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = await case.describe(connection_url=f"postgresql://127.0.0.1:{port}/x")
    with pytest.raises(TargetUnavailableError):
        await case.plugin.verify(config)


async def test_black_hole_does_not_slow_another(case: Any) -> None:
    """While one target says nothing, another one's credentials are made; the silent one ends in time (P04)."""
    async with black_hole() as port, reaching(deadline=2.0, connect_timeout=0.5) as plugin:
        dead = (await plugin.describe({"connection_url": f"postgresql://x@127.0.0.1:{port}/x"})).config
        calls = [asyncio.create_task(plugin.verify(dead)) for _ in range(8)]
        async with asyncio.timeout(DEADLINE):
            await plugin.create_user(case.config, case.user(await case.now()))
        assert not any(call.done() and not call.exception() for call in calls)
        errors = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, TargetUnavailableError) for error in errors), errors


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::ffff:127.0.0.1"])
async def test_denied_networks(host: str) -> None:
    """An address in a denied network is never dialled, by number, by name or dressed as IPv6."""
    async with reaching(deny_networks=("127.0.0.0/8", "::1/128")) as plugin:
        place = f"[{host}]" if ":" in host else host
        config = (await plugin.describe({"connection_url": f"postgresql://x@{place}:1/x"})).config
        with pytest.raises(TargetError, match="denied network"):
            await plugin.verify(config)


async def test_unix_socket(case: Any) -> None:
    """A socket's folder is a host."""
    async with case.superuser() as connection:
        folder = (await connection.fetchval("SHOW unix_socket_directories")).split(",")[0].strip()
    url = f"host='{folder}' port={case.port} dbname={case.database} user={{{{username}}}} password={{{{password}}}}"
    assert (await case.plugin.verify(await case.describe(connection_url=url))).version


async def test_second_host_is_tried(case: Any) -> None:
    """The first host that answers as a primary is used."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = case.url.replace("@", f"@127.0.0.1:{port},", 1)
    assert (await case.plugin.verify(await case.describe(connection_url=url))).version


async def test_required_tls_is_not_forgone(case: Any) -> None:
    """A target without TLS is refused where TLS is required."""
    for mode in ("require", "verify-full"):
        config = await case.describe(connection_url=f"{case.url}?sslmode={mode}")
        with pytest.raises(TargetUnavailableError):
            await case.plugin.verify(config)


@pytest.mark.parametrize("field", ["tls_ca", "sslrootcert"])
async def test_unreadable_certificates(case: Any, field: str) -> None:
    """Certificates that cannot be read are the configuration's error, and nothing of them is said."""
    url = case.url + "?sslmode=verify-full"
    changes = {"connection_url": url, "tls_ca": "nonsense"} if field == "tls_ca" else {
        "connection_url": url + "&sslrootcert=/nonexistent"
    }  # fmt: skip
    with pytest.raises(InvalidRequestError, match="certificates"):
        await case.plugin.verify(await case.describe(**changes))


async def count_sessions(case: Any, name: str) -> int:
    async with case.superuser() as connection:
        question = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        return await connection.fetchval(question, name)


async def test_connections_are_few(case: Any) -> None:
    """However many calls come, the target sees max_open_connections sessions at most, and they are kept (P22)."""
    name = "few" + case.prefix
    url = f"{case.url}?application_name={name}"
    config = await case.describe(connection_url=url, max_open_connections=2)
    users = [case.user(await case.now()) for _ in range(20)]
    async with asyncio.TaskGroup() as tasks:
        for user in users:
            tasks.create_task(case.plugin.create_user(config, user))
    assert await count_sessions(case, name) == 2


async def test_no_session_is_kept_when_none_may_be(case: Any) -> None:
    """With max_idle_connections = -1 a session ends with its call, also after a refusal."""
    name = "none" + case.prefix
    url = f"{case.url}?application_name={name}"
    config = await case.describe(connection_url=url, max_idle_connections=-1)
    user = await case.create()
    with pytest.raises(TargetError):
        await case.plugin.create_user(config, case.user(await case.now(), name=user.name))
    await case.plugin.verify(config)
    async with case.superuser() as connection:
        await case.wait_for(
            connection, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1)", name
        )


async def test_connection_lost_while_idle(case: Any) -> None:
    """A session that the target ended while nobody used it costs no call."""
    await case.create()
    async with case.superuser() as connection:
        statement = "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE usename = $1"
        await connection.fetch(statement, case.admin)
    await case.create()


async def test_statement_outside_a_transaction_is_refused(case: Any) -> None:
    """A statement that refuses a transaction is a definite, explained error, by lint and on the target."""
    recipe = Recipe(creation=('CREATE ROLE "{{name}}"', f'CREATE DATABASE "x{case.prefix}"'))
    with pytest.raises(InvalidRequestError, match="transaction"):
        await case.plugin.lint(case.config, recipe)
    with pytest.raises(TargetError, match="transaction"):
        await case.plugin.create_user(case.config, case.user(await case.now(), recipe=recipe))
    assert await case.list_accounts() == set()


async def test_statements_leave_no_trace_in_the_session(case: Any) -> None:
    """What one recipe's statements set is not there for the next one's."""
    tricky = Recipe(
        creation=('CREATE ROLE "{{name}}"', f'SET search_path = nowhere; SET ROLE "{case.group}"')
    )
    config = await case.describe(max_open_connections=1)
    await case.plugin.create_user(config, case.user(await case.now(), recipe=tricky))
    await case.plugin.create_user(config, case.user(await case.now()))
    assert len(await case.list_accounts()) == 2


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        (Recipe(), "group_role"),
        (Recipe(creation=('CREATE ROLE "{{name}}"',)), "{{password}}"),
        (Recipe(creation=("CREATE ROLE {{name}} PASSWORD '{{password}}'",)), "{{expiration}}"),
        (Recipe(creation=('GRANT SELECT ON ALL TABLES IN SCHEMA app TO "{{name}}"',)), "group role"),
    ],
)
async def test_lint_warns(recipe: Recipe, word: str) -> None:
    """Recipes that work but will hurt are warned about."""
    async with reaching() as plugin:
        assert word in " ".join(await plugin.lint({}, recipe))


async def test_custom_renewal(case: Any) -> None:
    """A recipe's renewal statements run under the lock, and only when they would move the time forward."""
    recipe = Recipe(renewal=("""ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}'""",))
    user = await case.create()

    later = user.valid_until + timedelta(hours=1)
    for wanted in (later, user.valid_until):
        renewal = RenewUser(name=user.name, recipe=recipe, fence_key=user.fence_key, valid_until=wanted)
        assert await case.plugin.renew_user(case.config, renewal) == later


async def test_large_batches(case: Any) -> None:
    """More members than one transaction takes are ended all the same, each with its verdict."""
    users = [case.user(await case.now()) for _ in range(150)]
    async with case.superuser() as connection:
        await connection.execute(
            f'SET ROLE "{case.admin}";' + ";".join(f'CREATE ROLE "{user.name}"' for user in users)
        )
    verdicts = await case.delete(*users)
    assert [verdict.name for verdict in verdicts] == [user.name for user in users]
    assert {verdict.outcome for verdict in verdicts} == {"absent"}
    assert await case.list_accounts() == set()
