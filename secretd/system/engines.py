"""The two mounts that see core, and the rows that answer while sealed."""

from __future__ import annotations

from collections.abc import Callable

from secretd.core.parts import Parts
from secretd.core.router import Table
from secretd.sdk.engine import Engine
from secretd.sdk.errors import SecretdError
from secretd.sdk.path import Path
from secretd.sdk.request import Request
from secretd.system import (
    audit,
    capabilities,
    lease_views,
    leases,
    metrics,
    mounts,
    policies,
    seal,
    specs,
    tokens,
    visible,
)

_PREFIX = "sys/"


def sys_engine(parts: Parts) -> Engine:
    """``sys/``."""
    tables = (seal, mounts, visible, policies, capabilities, leases, lease_views, audit, specs, metrics)
    rows = tuple(row for family in tables for row in family.paths(parts))
    return Engine(type="system", kind="system", paths=rows, help="How secretd itself is run.")


def token_engine(parts: Parts) -> Engine:
    """``auth/token/``."""
    return Engine(
        type="token", kind="system", paths=tokens.paths(parts), help="Tokens: make, see, renew, end."
    )


def sealed_rows(parts: Callable[[], Parts]) -> Callable[[Request], tuple[Path, dict[str, str]] | None]:
    """Finds the row of a request that is answered without token, audit and storage's keys; None = others do."""
    table = Table([row for row in seal.paths(parts()) if row.while_sealed])
    firsts = frozenset(row.pattern for row in table.rows)

    def find(request: Request) -> tuple[Path, dict[str, str]] | None:
        rest = request.path.removeprefix(_PREFIX).removesuffix("/")
        if rest not in firsts or not request.path.startswith(_PREFIX):
            return None
        try:
            return table.find(request.operation, rest)
        except SecretdError:  # another operation, help among them: the pipeline says what is wrong with it
            return None

    return find
