"""A lease's renewal, by rules 10-12: the target first, then one compare-and-set, then the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secretd.core.faults import Faults
from secretd.sdk.engine import System
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.response import LeaseGrant, Response
from secretd.sdk.secret_type import Renewal, SecretType
from secretd.sdk.storage import View
from secretd.sdk.ttl import Limit, shortest
from secretd.storage.barrier import Barrier
from secretd.storage.leases import Leases
from secretd.storage.pool import Row


@dataclass(slots=True, frozen=True)
class Bed:
    """Where a lease lives: its mount's view and its kind of credential."""

    view: View
    secret_type: SecretType


FindBed = Callable[[str, str], Bed]  # mount id, secret type name; raises NoHandlerError


class Renewer:
    """Prolongs leases, never past their maximum."""

    def __init__(
        self, *, leases: Leases, barrier: Barrier, system: System, faults: Faults, find_bed: FindBed
    ) -> None:
        self._leases = leases
        self._barrier = barrier
        self._system = system
        self._faults = faults
        self._find_bed = find_bed

    async def renew(self, lease_id: str, increment: int) -> Response:
        """Renew by ``increment`` seconds from now (0 = the lease's own TTL); a smaller one shortens."""
        row = await self._leases.find_to_renew(lease_id, increment)
        if row is None:
            raise InvalidRequestError("lease not found")
        wanted = increment if increment > 0 else int(row["ttl"])
        span = shortest(
            wanted,
            Limit("the lease's max_ttl", max(row["remaining_max"], 0.001)),
            Limit("the remaining TTL of the token", row["remaining_token"]),
        )
        if span.seconds < row["remaining"] and not span.warning:
            duration = await self._leases.shorten(lease_id, span.seconds)
        else:
            duration = await self._extend(row, lease_id, wanted)
        if duration is None:
            raise InvalidRequestError("lease not found")
        await self._faults.reach("7.renew.extended")
        warnings = [span.warning] if span.warning else []
        return Response(lease=LeaseGrant(lease_id, round(duration), renewable=True), warnings=warnings)

    async def _extend(self, row: Row, lease_id: str, wanted: int) -> float | None:
        """Rules 10 and 11. ``until`` was computed by storage's clock in the read."""
        bed = self._find_bed(row["mount_id"], row["secret_type"])
        fresh = await self._leases.find_to_renew(lease_id, wanted)
        if fresh is None:
            return None
        recipe = await self._barrier.decrypt_recipe(lease_id, row["recipe"])
        renewal = Renewal(lease_id, row["account_name"], recipe, row["fence_key"], fresh["until"])
        secured = await bed.secret_type.renew(self._system, bed.view, renewal)  # (10)
        await self._faults.reach("6.renew.secured")
        return await self._leases.extend(lease_id, wanted, min(secured, fresh["until"]))  # (11)
