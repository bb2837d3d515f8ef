"""The embedded PostgreSQL: private, adopted while its owner lives, gone with its owner."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import pytest

from secretd.server.embedded import EmbeddedPostgres, EmbeddedPostgresError, find_binaries
from secretd.server.embedded_process import is_postgres
from support.clusters import MAJORS, binaries

_OWNER = """
import asyncio, sys
from pathlib import Path
from secretd.server.embedded import EmbeddedPostgres
async def own():
    async with EmbeddedPostgres(Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(own())
"""


async def _spawn_owner(folder: Path) -> tuple[asyncio.subprocess.Process, int]:
    """Another process that owns a server; returns it and the server's process id."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNER, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    return owner, int(await owner.stdout.readline())


async def _ask(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("major", MAJORS)
async def test_every_supported_version_runs_from_its_binaries(major: int, tmp_path: Path) -> None:
    """Both addresses reach a UTF-8 server of the version asked for."""
    async with EmbeddedPostgres(tmp_path / "pg", bin_dir=binaries(major)) as server:
        for tcp in (False, True):
            version = await _ask(
                server.dsn(tcp=tcp), "SELECT current_setting('server_version_num')::int / 10000"
            )
            assert version == major
        assert await _ask(server.dsn(), "SHOW server_encoding") == "UTF8"


async def test_files_are_private_under_any_umask_and_parents_stay_as_they_are(tmp_path: Path) -> None:
    """The folder is 0700, the password and the log are 0600, and no parent's mode changes."""
    tmp_path.chmod(0o710)
    before = os.umask(0)
    try:
        async with EmbeddedPostgres(tmp_path / "pg") as server:
            assert _mode(tmp_path / "pg") == 0o700
            assert _mode(tmp_path / "pg" / "data") == 0o700
            assert {_mode(tmp_path / "pg" / name) for name in ("password", "owner", "postgres.log")} == {
                0o600
            }
            assert server.log_path.read_text()
    finally:
        os.umask(before)
    assert _mode(tmp_path) == 0o710


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_wrong_password_is_refused_on_the_socket_and_on_loopback(tcp: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Being on the machine is not enough to get in."""
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.dsn(tcp=tcp, password="wrong"))  # noqa: S106 - the point of it


async def test_data_and_password_survive_a_restart(tmp_path: Path) -> None:
    """A second start serves the same cluster, by the same password."""
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        await _ask(server.dsn(), "CREATE TABLE kept AS SELECT 1 AS one")
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        assert not server.adopted
        assert await _ask(server.dsn(), "SELECT one FROM kept") == 1


async def test_a_server_whose_owner_lives_is_adopted_and_left_running(tmp_path: Path) -> None:
    """A second opener uses the first one's server and does not stop it on leaving."""
    async with EmbeddedPostgres(tmp_path / "pg") as first:
        async with EmbeddedPostgres(tmp_path / "pg") as second:
            assert second.adopted
            assert second.pid == first.pid
            assert await _ask(second.dsn(tcp=True), "SELECT 1") == 1
        assert await _ask(first.dsn(), "SELECT 1") == 1


async def test_openers_at_the_same_moment_share_one_server(tmp_path: Path) -> None:
    """Only one of several concurrent starts makes a server."""
    servers = [EmbeddedPostgres(tmp_path / "pg") for _ in range(3)]
    await asyncio.gather(*(server.__aenter__() for server in servers))
    assert sorted(server.adopted for server in servers) == [False, True, True]
    for server in sorted(servers, key=lambda server: not server.adopted):
        await server.__aexit__(None, None, None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_owner_takes_its_server_along(number: signal.Signals, tmp_path: Path) -> None:
    """However the owner dies, the postmaster ends by itself and soon."""
    owner, pid = await _spawn_owner(tmp_path / "pg")
    owner.send_signal(number)
    await owner.wait()
    deadline = time.monotonic() + 10
    while is_postgres(pid):
        assert time.monotonic() < deadline, "the server outlived its owner"
        await asyncio.sleep(0.02)


async def test_a_start_right_after_a_kill_serves_the_data(tmp_path: Path) -> None:
    """kill -9 and a start at once: the new server is ours, not the dying one, and nothing is lost."""
    owner, pid = await _spawn_owner(tmp_path / "pg")
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        await _ask(server.dsn(), "CREATE TABLE kept AS SELECT 1 AS one")
    owner.kill()
    await owner.wait()
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        assert not server.adopted
        assert server.pid != pid
        assert await _ask(server.dsn(), "SELECT one FROM kept") == 1


async def test_a_killed_postmaster_is_replaced(tmp_path: Path) -> None:
    """A stale postmaster.pid, with children that may still be ending, does not stop the next start."""
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        os.kill(server.pid, signal.SIGKILL)
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        assert await _ask(server.dsn(), "SELECT 1") == 1


async def test_a_pid_file_that_names_a_stranger_is_no_server(tmp_path: Path) -> None:
    """After a reboot or in a container the number may be anybody's: the stranger lives, and we start."""
    async with EmbeddedPostgres(tmp_path / "pg"):
        pass
    (tmp_path / "pg" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        assert not server.adopted
        assert await _ask(server.dsn(), "SELECT 1") == 1


async def test_a_kill_during_initdb_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    """Half a cluster is made anew."""
    (tmp_path / "pg" / "data.new").mkdir(parents=True)
    (tmp_path / "pg" / "data.new" / "PG_VERSION").write_text("18")
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        assert await _ask(server.dsn(), "SELECT 1") == 1


async def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    """A unix socket's path is limited to 107 bytes; the folder's is not."""
    async with EmbeddedPostgres(tmp_path / ("long" * 20) / ("path" * 10)) as server:
        assert await _ask(server.dsn(), "SELECT 1") == 1


async def test_a_bad_setting_is_an_error_with_the_servers_words(tmp_path: Path) -> None:
    """What PostgreSQL refuses is said, with a hint at its log, and no traceback of ours."""
    server = EmbeddedPostgres(tmp_path / "pg", settings={"max_connections": "minus one"})
    with pytest.raises(EmbeddedPostgresError, match="max_connections") as caught:
        await server.__aenter__()
    assert "postgres.log" in (caught.value.hint or "")


async def test_settings_and_roles_reach_the_server(tmp_path: Path) -> None:
    """Settings are applied, and a role with a password logs in over loopback TCP."""
    async with EmbeddedPostgres(tmp_path / "pg", settings={"max_connections": "33"}) as server:
        assert await _ask(server.dsn(), "SHOW max_connections") == "33"
        await _ask(server.dsn(), "CREATE ROLE guest LOGIN PASSWORD 'p/@:'")
        assert (
            await _ask(server.dsn(tcp=True, user="guest", password="p/@:"), "SELECT current_user") == "guest"
        )  # noqa: S106


async def test_root_without_user_namespaces_drops_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL refuses root: where no user namespace is to be had, the server runs as nobody, still private."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None or not _reachable(find_binaries()):
        pytest.skip("needs root, setpriv, and an installation that everybody may read")
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "bin").mkdir()
        (Path(place) / "bin" / "setpriv").symlink_to(setpriv)
        Path(place).chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}/bin")  # no unshare there
        for _ in range(2):
            async with EmbeddedPostgres(Path(place) / "pg") as server:
                assert Path(f"/proc/{server.pid}").stat().st_uid == 65534
                assert await _ask(server.dsn(), "SELECT 1") == 1
                assert _mode(Path(place) / "pg" / "data") == 0o700
                assert _mode(Path(place) / "pg" / "password") == 0o600


def _reachable(path: Path) -> bool:
    """May everybody pass through all of these folders?"""
    return all(folder.stat().st_mode & 0o001 for folder in path.parents)


def test_a_missing_wheel_is_an_error_that_names_the_extra() -> None:
    """Without the package the error says what to install."""
    with pytest.raises(EmbeddedPostgresError) as caught:
        find_binaries("no_such_wheel")
    assert "secretd[embedded]" in (caught.value.hint or "")


def test_nothing_shows_the_password(tmp_path: Path) -> None:
    """Neither repr nor str of the object holds a secret, and an address is refused before there is one."""
    server = EmbeddedPostgres(tmp_path)
    server._password = "canary"  # noqa: S105, SLF001
    assert "canary" not in f"{server!r} {server!s}"
    with pytest.raises(EmbeddedPostgresError):
        server.dsn()
