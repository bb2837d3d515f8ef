"""Targets for leases over the wire: a database with an admin, and the ways in which one can fail to answer."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import asyncpg

from support.served import LOOPBACK, Daemon

PLUGIN = "postgresql-database-plugin"


@dataclass
class Target:
    """A database, an admin of it who may only make roles, and a group role; names are this test's own."""

    dsn: str = field(repr=False)
    tag: str = field(default_factory=lambda: secrets.token_hex(4))
    password: str = field(default_factory=lambda: secrets.token_hex(12), repr=False)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        place = urlsplit(self.dsn)
        return place.hostname or LOOPBACK, place.port or 5432

    def connection(self, address: tuple[str, int] | None = None) -> dict[str, object]:
        """The fields of ``database/config/…``; ``address`` stands for the real one (a proxy's)."""
        host, port = address or self.address
        name = urlsplit(self.dsn).path
        return {
            "plugin_name": PLUGIN, "username": f"admin-{self.tag}", "password": self.password, "allowed_roles": "*",
            "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{host}:{port}{name}?sslmode=disable",
            "username_template": f"v-{self.tag}-{{{{ random 20 }}}}",
        }  # fmt: skip

    @property
    def role(self) -> dict[str, object]:
        """The fields of ``database/roles/…`` for a connection named ``app``."""
        return {"db_name": "app", "group_role": f"group-{self.tag}", "default_ttl": 600}

    def run(self, *statements: str) -> list[asyncpg.Record]:
        """As the superuser; the rows of the last statement."""
        return asyncio.run(_run(self.dsn, statements))

    def logins(self) -> list[str]:
        """What was made on it and is left."""
        rows = self.run(f"SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-{self.tag}-%'")
        return [row["rolname"] for row in rows]

    def can_log_in(self, name: str, password: str) -> bool:
        """Whether this login works now."""
        place = urlsplit(self.dsn)
        host, port = self.address
        dsn = f"postgresql://{name}:{password}@{host}:{port}{place.path}"
        try:
            asyncio.run(_run(dsn, ["SELECT 1"]))
        except asyncpg.PostgresError:
            return False
        return True

    def mount(self, daemon: Daemon, address: tuple[str, int] | None = None) -> str:
        """A database mount with connection ``app`` and role ``r`` on this target."""
        mount = f"db-{self.tag}"
        daemon.must("POST", f"sys/mounts/{mount}", {"type": "database"})
        daemon.must("POST", f"{mount}/config/app", self.connection(address))
        daemon.must("POST", f"{mount}/roles/r", self.role)
        return mount


async def _run(dsn: str, statements: tuple[str, ...] | list[str]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    rows: list[asyncpg.Record] = []
    try:
        for statement in statements:
            rows = await connection.fetch(statement)
    finally:
        await connection.close()
    return rows


@contextlib.contextmanager
def prepared(dsn: str) -> Iterator[Target]:
    """A target on this database; its roles go with it."""
    made = Target(dsn)
    admin, group = f"admin-{made.tag}", f"group-{made.tag}"
    made.run(
        f"""CREATE ROLE "{group}" NOLOGIN""",
        f"""CREATE ROLE "{admin}" LOGIN CREATEROLE PASSWORD '{made.password}'""",
        f"""GRANT "{group}" TO "{admin}" WITH ADMIN OPTION""",
    )
    try:
        yield made
    finally:
        for name in [*made.logins(), admin, group]:
            made.run(f'DROP ROLE IF EXISTS "{name}"')


class Proxy:
    """TCP to a server that may come and go; while ``is_dropping`` both sides stay connected and hear nothing."""

    def __init__(self, to: tuple[str, int] | None) -> None:
        self.to = (
            to  # None: nobody behind it; who connects is heard by nobody while dropping, else turned away
        )
        self._server = socket.create_server((LOOPBACK, 0))
        self._sockets: list[socket.socket] = [self._server]
        self.address: tuple[str, int] = self._server.getsockname()
        self.is_dropping = to is None
        self.taken = threading.Event()  # something was said to it while it was dropping

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._end(self._server)

    def cut(self) -> None:
        """End every connection through it."""
        for one in self._sockets[1:]:
            self._end(one)

    def _end(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                self._sockets.append(near)
                for pair in self._pairs(near):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _pairs(self, near: socket.socket) -> list[tuple[socket.socket, socket.socket]]:
        if self.is_dropping:
            return [(near, near)]
        try:
            far = socket.create_connection(self.to or ("", 0))
        except OSError:
            self._end(near)
            return []
        self._sockets.append(far)
        return [(near, far), (far, near)]

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                if self.is_dropping:
                    self.taken.set()
                else:
                    sink.sendall(piece)
            if not self.is_dropping:
                sink.shutdown(socket.SHUT_WR)
