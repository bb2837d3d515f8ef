"""An engine whose accounts are names in a set: leases with a whole life, and no target."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from secretd.sdk.engine import Engine
from secretd.sdk.fields import Duration
from secretd.sdk.path import Path
from secretd.sdk.request import READ, UPDATE, Call
from secretd.sdk.secret_type import Birth, Doomed, End, Plan, Renewal, SecretType, issues

if TYPE_CHECKING:
    from secretd.sdk.engine import System
    from secretd.sdk.storage import View


class Recipe(msgspec.Struct):
    """What the end needs: nothing but the name, which the lease has."""


class RoleFields(msgspec.Struct):
    """A role, and how long its leases live."""

    name: str
    ttl: Duration | None = None


class Lender:
    """Gives names out and takes them back, unless it is ``broken``."""

    def __init__(self) -> None:
        self.accounts: set[str] = set()
        self.is_broken = False
        self._born = 0
        lent = SecretType(
            "lent",
            fields=RoleFields,
            prepare=self._prepare,
            issue=self._issue,
            renew=self._renew,
            revoke=self._revoke,
            batch_key=lambda _recipe: "",
        )
        self.engine = Engine(
            type="lender",
            kind="secret",
            paths=(
                Path(UPDATE, "roles/{name}", RoleFields, self._write),
                Path(READ, "creds/{name}", RoleFields, issues(lent)),
            ),
            secrets=(lent,),
            help="Names.",
        )

    async def _write(self, call: Call, fields: RoleFields) -> None:
        """Write a role."""
        await call.view.put(f"roles/{fields.name}", str(int(fields.ttl or 0)).encode())

    async def _prepare(self, call: Call, fields: RoleFields) -> Plan:
        """Lend a name."""
        self._born += 1
        entry = await call.view.get(f"roles/{fields.name}")
        assert entry is not None
        return Plan(
            account_name=f"name-{self._born}",
            ttl=int(entry.value),
            max_ttl=0,
            recipe=Recipe(),
            role=fields.name,
            role_key=f"roles/{fields.name}",
            target="names",
        )

    async def _issue(self, _system: System, _view: View, birth: Birth) -> dict[str, Any]:
        self.accounts.add(birth.plan.account_name)
        return {"username": birth.plan.account_name}

    async def _renew(self, _system: System, _view: View, _renewal: Renewal) -> datetime:
        return datetime(9999, 1, 1, tzinfo=UTC)

    async def _revoke(self, _system: System, _view: View, doomed: tuple[Doomed, ...]) -> list[End]:
        if self.is_broken:
            return [End(one.lease_id, "error", error="out_of_order") for one in doomed]
        self.accounts -= {one.account_name for one in doomed}
        return [End(one.lease_id, "absent") for one in doomed]
