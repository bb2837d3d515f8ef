"""From a path to a mount, from a mount's path to a row of its engine's table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from secretd.core.mounts.model import MountRecord
from secretd.sdk.engine import Engine, Mount
from secretd.sdk.errors import NoHandlerError, UnsupportedOperationError, UnsupportedPathError
from secretd.sdk.path import Path
from secretd.sdk.request import Operation
from secretd.sdk.secret_type import SecretType

EngineOf = Callable[[str, str, Mapping[str, str]], Engine]  # kind, type, mount options → engine


class Table:
    """An engine's rows, found by their first literal segment."""

    __slots__ = ("_any", "_by_first", "rows")

    def __init__(self, rows: Sequence[Path]) -> None:
        self.rows = tuple(rows)
        self._by_first: dict[str, list[Path]] = defaultdict(list)
        self._any: list[Path] = []
        for row in rows:
            first = row.pattern.partition("/")[0]
            (self._any if "{" in first else self._by_first[first]).append(row)

    def find(self, operation: Operation, path: str) -> tuple[Path, dict[str, str]]:
        """The row and its holes; UnsupportedOperationError where the path has others, else UnsupportedPathError."""
        is_known = False
        for row in (*self._by_first.get(path.partition("/")[0], ()), *self._any):
            if row.operation is not operation:
                is_known = is_known or row.match(path) is not None
                continue
            holes = row.match(path)
            if holes is not None:
                return row, holes
        raise UnsupportedOperationError if is_known else UnsupportedPathError


@dataclass(slots=True, frozen=True)
class Route:
    """A mount that takes requests."""

    record: MountRecord
    mount: Mount
    engine: Engine
    table: Table


class Router:
    """All mounts of one generation. Immutable."""

    def __init__(
        self, records: Sequence[MountRecord], engine_of: EngineOf, *, default_ttl: int, max_ttl: int
    ) -> None:
        self._routes: dict[str, Route] = {}
        self._by_id: dict[str, Route] = {}
        for record in records:
            engine = engine_of(record.kind, record.type, record.config.options or {})
            mount = record.seen(default_ttl=default_ttl, max_ttl=max_ttl)
            route = Route(record, mount, engine, Table(engine.paths))
            self._by_id[record.id] = route
            if record.is_active:
                self._routes[record.path] = route

    @property
    def routes(self) -> list[Route]:
        """Every active mount, by path."""
        return list(self._routes.values())

    def find(self, path: str) -> tuple[Route, str]:
        """The mount with the longest prefix of the path, and the rest; NoHandlerError."""
        end = len(path)
        while end > 0:
            route = self._routes.get(path[:end] + "/") if path[end : end + 1] in {"", "/"} else None
            if route is not None:
                return route, path[end + 1 :]
            end = path.rfind("/", 0, end)
        raise NoHandlerError(hint="see what is mounted: `secretd secrets list`")

    def by_id(self, mount_id: str) -> Route:
        """A mount by its stable id, one that is being disabled included; NoHandlerError."""
        try:
            return self._by_id[mount_id]
        except KeyError:
            raise NoHandlerError from None

    def by_path(self, path: str) -> Route | None:
        """An active mount by its exact path."""
        return self._routes.get(path)

    def secret_type(self, mount_id: str, name: str) -> tuple[Route, SecretType]:
        """A mount's kind of credential, for its leases; NoHandlerError."""
        route = self.by_id(mount_id)
        for secret_type in route.engine.secrets:
            if secret_type.name == name:
                return route, secret_type
        raise NoHandlerError
