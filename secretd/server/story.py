"""``make run``: the main job on real parts, told while it happens; then the daemon stays up.

Two PostgreSQL servers start: one that secretd keeps its secrets in, one that plays the database of an
application. Every step is checked; with ``ONCE`` in the environment the story ends with exit code 0 if all held.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secretd.sdk.errors import SecretdError
from secretd.server.config import environment
from secretd.server.embedded import EmbeddedPostgres, find_binaries

TTL = 6  # seconds: short, so that a person sees the end
_PATIENCE = 30  # seconds for each thing that must come true
_SCHEMA = """
CREATE ROLE inventory_reader NOLOGIN;
CREATE TABLE inventory (item text PRIMARY KEY, amount int NOT NULL);
INSERT INTO inventory VALUES ('bolt', 120), ('nut', 80), ('washer', 300);
GRANT SELECT ON inventory TO inventory_reader;
CREATE ROLE secretd_admin LOGIN CREATEROLE PASSWORD '{password}';
GRANT inventory_reader TO secretd_admin WITH ADMIN OPTION;
GRANT pg_signal_backend TO secretd_admin;
"""

_NEXT = """
The daemon stays up. In another shell:
  export VAULT_ADDR=http://127.0.0.1:{port} VAULT_TOKEN={token}
  .venv/bin/secretd read database/creds/reader
  .venv/bin/secretd kv put secret/hello name=world
  .venv/bin/secretd lease list database/creds/reader
End it with ctrl-C."""


class StoryError(SecretdError):
    """a step of the story did not hold"""


@dataclass(frozen=True)
class Shop:
    """The application's database, as the story talks to it."""

    postgres: EmbeddedPostgres
    admin_password: str

    async def login(self, user: str, password: str, sql: str) -> tuple[int, str]:
        """Run SQL by psql as somebody; exit code and what it printed. The password travels in the environment."""
        psql = await asyncio.create_subprocess_exec(
            str(find_binaries() / "psql"), "-h", "127.0.0.1", "-p", str(self.postgres.port), "-U", user,
            "-d", "postgres", "-XtAc", sql, env={"PGPASSWORD": password, "PGCONNECT_TIMEOUT": "5"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await psql.communicate()
        return psql.returncode or 0, printed.decode(errors="replace").strip()

    async def as_superuser(self, sql: str) -> str:
        """Run SQL as the owner of the server."""
        psql = await asyncio.create_subprocess_exec(
            str(find_binaries() / "psql"), self.postgres.dsn(), "-XtA", "-v", "ON_ERROR_STOP=1",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        printed, errors = await psql.communicate(sql.encode())
        if psql.returncode:
            raise StoryError("the application's database could not be prepared", hint=errors.decode()[-200:])
        return printed.decode().strip()


@dataclass(frozen=True)
class Vault:
    """The daemon, as a service sees it: HTTP and a token."""

    port: int
    token: str

    async def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """One request; status and decoded body."""
        return await asyncio.to_thread(self._ask, method, path, body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(
                method,
                f"/v1/{path}",
                body=json.dumps(body) if body else None,
                headers={"X-Vault-Token": self.token},
            )
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else {}

    async def must(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request that has to succeed."""
        status, answer = await self.ask(method, path, body)
        if status >= 300:
            raise StoryError(f"{method} {path} answered {status}: {answer.get('errors')}")
        return answer


def say(text: str) -> None:
    """One line of the story."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise StoryError("no free port on loopback")


@contextlib.asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[Vault]:
    """``secretd server --dev`` as a child process, up and unsealed."""
    port, token = _free_port(8200), "dev-" + secrets.token_hex(8)
    log = (folder / "secretd.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "secretd.cli.main", "server", "--dev", "--dev-root-token-id", token,
        "--dev-listen-address", f"127.0.0.1:{port}", "--data", str(folder / "storage"),
        stdout=log, stderr=log,
    )  # fmt: skip
    vault = Vault(port, token)
    try:
        for _ in range(_PATIENCE * 10):
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, _ = await vault.ask("GET", "sys/health")
                if status == 200:
                    break
            if process.returncode is not None:
                raise StoryError("the daemon ended", hint=(folder / "secretd.log").read_text()[-600:])
            await asyncio.sleep(0.1)
        else:
            raise StoryError("the daemon did not come up", hint=(folder / "secretd.log").read_text()[-600:])
        yield vault
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
        log.close()


async def tell(vault: Vault, shop: Shop) -> None:
    """The main job, step by step."""
    say("1. An application's database has a group role that may read: inventory_reader.")
    await vault.must("POST", "sys/mounts/database", {"type": "database"})
    await vault.must(
        "POST",
        "database/config/shop",
        {
            "plugin_name": "postgresql-database-plugin",
            "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{shop.postgres.port}/postgres?sslmode=disable",
            "username": "secretd_admin",
            "password": shop.admin_password,
            "allowed_roles": "reader",
        },
    )
    role = {"db_name": "shop", "group_role": "inventory_reader", "default_ttl": TTL, "max_ttl": 600}
    await vault.must("POST", "database/roles/reader", role)
    say(
        f"2. secretd knows it as database/config/shop; role database/roles/reader gives logins for {TTL} seconds."
    )

    answer = await vault.must("GET", "database/creds/reader")
    user, password = answer["data"]["username"], answer["data"]["password"]
    say(f"3. GET database/creds/reader → a login made a moment ago: {user}")
    say(f"   lease {answer['lease_id']}, {answer['lease_duration']} seconds")

    code, printed = await shop.login(user, password, "SELECT count(*) FROM inventory")
    if (code, printed) != (0, "3"):
        raise StoryError("the leased login could not read", hint=printed)
    say(f"4. The service logs in and reads: {printed} rows of inventory.")

    lookup = await vault.must("PUT", "sys/leases/lookup", {"lease_id": answer["lease_id"]})
    seen = lookup["data"]
    say(f"5. Its lease: issued {seen['issue_time']}, ends {seen['expire_time']}, ttl {seen['ttl']}.")

    say("6. Waiting for the end …")
    for _ in range(_PATIENCE * 5):
        status, _ = await vault.ask("PUT", "sys/leases/lookup", {"lease_id": answer["lease_id"]})
        if status == 400:
            break
        await asyncio.sleep(0.2)
    code, printed = await shop.login(user, password, "SELECT 1")
    left = await shop.as_superuser("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'")
    if code == 0 or left != "0":
        raise StoryError("the login outlived its lease", hint=f"{left} logins are left")
    say("7. The lease is over. The same login is refused:")
    say("   " + printed.splitlines()[-1])
    say("   and no account is left on the target.")


async def main() -> int:
    """Tell the story; with ONCE end with its outcome, else stay up until ctrl-C."""
    folder = Path(tempfile.mkdtemp(prefix="secretd-run-"))
    try:
        async with EmbeddedPostgres(folder / "shop") as postgres, daemon(folder) as vault:
            shop = Shop(postgres, secrets.token_urlsafe(18))
            await shop.as_superuser(_SCHEMA.format(password=shop.admin_password))
            await tell(vault, shop)
            if environment().get("ONCE"):
                say("The story holds.")
                return 0
            say(_NEXT.format(port=vault.port, token=vault.token))
            await asyncio.Event().wait()
    except SecretdError as error:
        sys.stderr.write(f"the story does not hold: {error.message}\n{error.hint or ''}\n")
        return 1
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(main()))
