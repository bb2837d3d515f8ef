"""The commands of docs/operate.md, run in their order as a person would."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from support.clusters import Cluster, binaries, skip_or_fail
from support.tree import ROOT

_PAGE = ROOT / "docs" / "operate.md"
_BLOCK = re.compile(r"^```(\S*)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SECONDS = 150  # for all of it; it takes about 30
_PRELUDE = "set -euo pipefail\ntrap 'jobs -p | xargs -r kill -9' EXIT\n"  # what a failed block left running


def _blocks(page: str) -> list[tuple[int, str, str]]:
    """Line, info string and text of each fenced block."""
    return [
        (page.count("\n", 0, found.start()) + 1, (found[1] + found[2]).strip(), found[3])
        for found in _BLOCK.finditer(page)
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _script(folder: Path, database_port: int) -> str:
    """All blocks as one script, with folders and ports of its own; each says its line before it runs."""
    parts = [
        f"echo '== docs/operate.md:{line}'\n{text}"
        for line, info, text in _blocks(_PAGE.read_text(encoding="utf-8"))
        if info == "bash run"
    ]
    script = _PRELUDE + "\n".join(parts)
    for there, here in {
        "/etc/secretd": f"{folder}/etc",
        "/var/log/secretd": f"{folder}/log",
        "127.0.0.1:5432": f"127.0.0.1:{database_port}",
        "127.0.0.1:8200": f"127.0.0.1:{_free_port()}",
        "127.0.0.1:8300": f"127.0.0.1:{_free_port()}",
    }.items():
        script = script.replace(there, here)
    if os.geteuid() == 0:  # the page's daemon is no root's; a CI container's often is
        script = script.replace('user = ""', 'user = "root"')
    return script


def _environment(folder: Path, cluster: Cluster) -> dict[str, str]:
    superuser = urlsplit(cluster.dsn())
    path = [str(Path(sys.executable).parent), str(binaries(cluster.major)), os.defpath, "/usr/sbin"]
    return {
        "PATH": os.pathsep.join(path),
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "PGHOST": superuser.hostname or "",
        "PGPORT": str(superuser.port),
        "PGUSER": superuser.username or "",
        "PGPASSWORD": superuser.password or "",
        "PGDATABASE": "postgres",
    }


@pytest.mark.timeout(_SECONDS + 60)
def test_the_commands_for_operators_work_in_their_order(tmp_path: Path, cluster: Cluster) -> None:
    """Whoever types the page's commands from top to bottom has each of them succeed."""
    for program in ("bash", "curl", "openssl"):
        if shutil.which(program) is None:
            skip_or_fail(f"{program} is not installed; get it by: apt-get install {program}")
    port = urlsplit(cluster.dsn()).port
    assert port
    log = tmp_path / "said"
    with log.open("wb") as said:
        shell = subprocess.Popen(
            ["bash", "-c", _script(tmp_path, port)], cwd=tmp_path, env=_environment(tmp_path, cluster),
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
        try:
            code = shell.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            _end_session(shell)
    assert code == 0, log.read_text(encoding="utf-8", errors="replace")[-6000:]


def _end_session(shell: subprocess.Popen[bytes]) -> None:
    """Whatever the script has started is in its session, and ends with it."""
    try:
        os.killpg(shell.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    shell.wait()


def test_commands_that_are_not_run_say_so() -> None:
    """A block of commands is run, or begins by telling the reader that it is not and why."""
    silent = [
        line
        for line, info, text in _blocks(_PAGE.read_text(encoding="utf-8"))
        if info.startswith(("bash", "sh", "console"))
        and info != "bash run"
        and not text.startswith("# not run by CI:")
    ]
    assert silent == []


_LEASES = """
INSERT INTO leases (id, generation, state, fence_key, ttl, max_ttl, issue_deadline, target_deadline, issued_time,
  expire_time, max_expire_time, due_time)
SELECT name, 1, state, 1, '1h', '9h', t, t, t, CASE WHEN state = 'active' THEN t + passed END, t + longest, t + passed
FROM (SELECT clock_timestamp() - interval '3h' AS t) AS old, (VALUES
  ('renewed since', 'active', interval '1h', interval '9h'), ('over for good', 'active', '2h', '2h'),
  ('ended', 'revoking', '2h', '9h'), ('never issued', 'pending', '10s', '9h')) AS l (name, state, passed, longest);
INSERT INTO tokens (id, accessor, display_name, path, policies, mac, expire_time)
VALUES ('t', 'a', 'token', 'auth/token/create', '{default}', '', clock_timestamp() - interval '1h');
"""


async def test_the_sql_of_a_restore_holds_what_looks_expired(storage_dsn: str) -> None:
    """A restore's SQL leaves nothing due, an hour to what may have been renewed, and no row to old daemons."""
    found = re.search(r"^BEGIN;\n.*?^COMMIT;$", _PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found
    connection = await asyncpg.connect(storage_dsn)
    try:
        await connection.execute(_LEASES)
        await connection.execute(found[0])
        assert (
            await connection.fetchval("SELECT count(*) FROM leases WHERE due_time <= clock_timestamp()") == 0
        )
        alive = "SELECT id FROM leases WHERE expire_time > clock_timestamp() + interval '59 min'"
        assert [row["id"] for row in await connection.fetch(alive)] == ["renewed since"]
        assert await connection.fetchval("SELECT count(*) FROM leases WHERE generation = 1") == 0
        assert await connection.fetchval("SELECT bool_and(expire_time > clock_timestamp()) FROM tokens")
    finally:
        await connection.close()
