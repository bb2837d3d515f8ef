"""A lease's birth, by rules 1-9 of the lease protocol.

1. prepare: choose the name and freeze the recipe; nothing is touched
2. commit the row, pending, with its deadlines                    not acknowledged → 503, no CREATE
3. one CREATE under the fence; silence is never followed by another
4. activate, only from pending and in time                        not acknowledged → ask again, then read
5. answer; whoever has gone meanwhile gets the lease ended as "undelivered"

Any failure after 2 ends the row until that is acknowledged. No DROP is sent from here: revokers do that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from secretd.core.faults import Faults
from secretd.core.leases import model
from secretd.core.shelter import Shelter
from secretd.sdk.engine import System
from secretd.sdk.errors import (
    InvalidRequestError,
    SecretdError,
    StorageUnavailableError,
    TargetUnavailableError,
)
from secretd.sdk.request import Call
from secretd.sdk.response import LeaseGrant, Response
from secretd.sdk.secret_type import ISSUE_WINDOW, Birth, Plan, SecretType
from secretd.sdk.storage import encode
from secretd.storage.barrier import Barrier
from secretd.storage.leases import Leases, NewLease
from secretd.storage.tokens import TokenRow
from secretd.storage.view import EntryView

log = structlog.get_logger()
_ASK_AGAIN = (0.05, 0.2, 0.5, 1.0, 2.0)  # seconds between questions to a silent storage
_END_PATIENCE = 5.0  # seconds a caller waits for the acknowledged end of a failed birth


class Issuer:
    """Leases credentials. ``wake`` tells the revoker that a row became due."""

    def __init__(
        self, *, leases: Leases, barrier: Barrier, system: System, shelter: Shelter, faults: Faults,
        wake: Callable[[], None], counts: model.Counts,
    ) -> None:  # fmt: skip
        self._leases = leases
        self._barrier = barrier
        self._system = system
        self._shelter = shelter
        self._faults = faults
        self._wake = wake
        self._counts = counts

    async def issue(self, call: Call, token: TokenRow, secret_type: SecretType, fields: Any) -> Response:
        """Lease a credential for the holder of ``token``; the answer has its data and its lease."""
        plan = await secret_type.prepare(call, fields)  # (1)
        await self._faults.reach("1.prepared")
        span, max_ttl = model.spans(plan, call.mount, token.ttl)
        if span.seconds <= 0:
            raise InvalidRequestError("no time is left for a lease", hint="renew the token first")
        birth = self._shelter.start(self._bear(call, token, secret_type, plan, span.seconds, max_ttl))
        try:
            response = await asyncio.shield(birth)
        except asyncio.CancelledError:
            birth.add_done_callback(self._forsake)
            raise
        response.warnings += [*plan.warnings, *([span.warning] if span.warning else [])]
        return response

    async def undelivered(self, lease_id: str) -> None:
        """The answer could not be written (5): nobody holds this lease."""
        await self._shelter.run(self._end(lease_id, "undelivered"))

    def _forsake(self, birth: asyncio.Task[Response]) -> None:
        if not birth.cancelled() and birth.exception() is None and (lease := birth.result().lease):
            _ = self._shelter.start(self._end(lease.id, "undelivered"))

    async def _bear(
        self, call: Call, token: TokenRow, secret_type: SecretType, plan: Plan, ttl: int, max_ttl: int
    ) -> Response:
        lease_id = model.new_lease_id(call.mount.path + call.path)
        new = self._row(call, token, secret_type, plan, lease_id=lease_id, ttl=ttl, max_ttl=max_ttl)
        inserted = await self._leases.insert_pending(new)  # (2)
        if inserted is None:
            raise InvalidRequestError("the token, role or mount ended while the lease was made")
        await self._faults.reach("2.inserted")
        birth = Birth(lease_id, plan, new.fence_key, inserted[0], ttl)
        try:
            async with asyncio.timeout(ISSUE_WINDOW):
                data = await secret_type.issue(self._system, call.view, birth)  # (3)
            await self._faults.reach("3.created")
            duration = await self._activate(lease_id)  # (4)
        except BaseException as error:
            await self._give_up(lease_id, error)
            if isinstance(error, TimeoutError):
                raise TargetUnavailableError from None
            raise
        self._counts.lease_issued()
        await self._faults.reach("4.activated")
        return Response(data=data, lease=LeaseGrant(lease_id, round(duration), renewable=True))  # (5)

    def _row(
        self,
        call: Call,
        token: TokenRow,
        secret_type: SecretType,
        plan: Plan,
        *,
        lease_id: str,
        ttl: int,
        max_ttl: int,
    ) -> NewLease:
        view = call.view
        role_key = view.key(plan.role_key) if isinstance(view, EntryView) else plan.role_key
        return NewLease(
            id=lease_id,
            fence_key=model.new_fence_key(),
            ttl=ttl,
            max_ttl=max_ttl,
            issue_window=ISSUE_WINDOW,
            target_offset=plan.target_offset,
            mount_id=call.mount.id,
            token_id=token.id,
            role_key=role_key,
            secret_type=secret_type.name,
            path=call.mount.path + call.path,
            role=plan.role,
            target=plan.target,
            account_name=plan.account_name,
            recipe=self._barrier.encrypt_recipe(lease_id, encode(plan.recipe)),
            client_address=call.client_address,
        )

    async def _activate(self, lease_id: str) -> float:
        """Rules 7 and 8: only the issuer of an id makes this step, so ``active`` is ours."""
        for pause in _ASK_AGAIN:
            try:
                duration = await self._leases.activate(lease_id)
                if duration is not None:
                    return duration
                row = await self._leases.find_state(lease_id)
            except StorageUnavailableError:
                await asyncio.sleep(pause)
                continue
            if row is not None and row["state"] == "active":
                return float(row["lease_duration"])
            raise TargetUnavailableError("the credential was not ready in time")
        raise StorageUnavailableError

    async def _give_up(self, lease_id: str, error: BaseException) -> None:
        """Rule 9. The end goes on behind a caller who has waited long enough."""
        name = error.code if isinstance(error, SecretdError) else type(error).__name__
        log.warning("lease.not_issued", lease_id=lease_id, error=name)
        ending = self._shelter.start(self._end(lease_id, "issue failed"))
        await asyncio.wait({ending}, timeout=_END_PATIENCE)

    async def _end(self, lease_id: str, reason: str) -> None:
        """Ask for the end until storage acknowledges it, or we die and the deadline does it."""
        delay = 0.05
        while True:
            try:
                await self._leases.end(lease_id, reason)
            except StorageUnavailableError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
            else:
                break
        self._wake()
