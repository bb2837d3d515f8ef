"""Who holds what: an operator's questions about leases, and the few things that only an operator does.

Reads go by the view ``known_leases``, which has no recipe. A question is led by its most telling filter, whose
query has an index; the other filters only drop rows. Pages go by lease id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from secretd.storage.again import again_after_conflict
from secretd.storage.leases import Leases
from secretd.storage.pool import Pool, Row
from secretd.storage.view import after_prefix

STATES = ("pending", "active", "revoking", "revoked", "abandoned")
MOST = 1000  # rows of a page


@dataclass(slots=True, frozen=True, kw_only=True)
class Question:
    """Which leases; an empty filter asks nothing. ``state`` empty = not over. Seconds."""

    prefix: str = ""
    target: str = ""
    role: str = ""
    mount_id: str = ""
    holder: str = ""  # display name, entity id or token accessor
    holder_kind: Literal["name", "entity", "token"] = "name"  # which of them; Holdings finds out
    account_name: str = ""
    state: str = ""
    expiring_within: float | None = None
    is_failing: bool = False

    @property
    def query(self) -> str:
        """The named query that is led by the filter with the fewest rows, as a rule."""
        leads = (
            (bool(self.account_name), "list_leases_of_account"),
            (self.is_failing, "list_failing_leases"),
            (bool(self.holder), f"list_leases_of_{self.holder_kind}"),
            (bool(self.target), "list_leases_of_target"),
            (bool(self.role and self.mount_id), "list_leases_of_mount_role"),
            (bool(self.role), "list_leases_of_role"),
            (bool(self.mount_id), "list_leases_of_mount"),
            (self.state not in {"", "active"}, "list_leases_of_state"),
            (self.expiring_within is not None, "list_expiring_leases"),
        )
        return next((name for is_asked, name in leads if is_asked), "list_known_leases")

    def parameters(self, *, after: str, limit: int) -> tuple[object, ...]:
        """What each of those queries takes, in order."""
        return (
            0, max(after, self.prefix), after_prefix(self.prefix), self.target, self.role, self.mount_id, self.holder,
            self.account_name, self.state, self.expiring_within, self.is_failing, limit,
        )  # fmt: skip


class Holdings:
    """Answers questions about leases. ``leases`` knows the generation that writing statements are bound to."""

    def __init__(self, pool: Pool, leases: Leases) -> None:
        self._pool = pool
        self._leases = leases

    async def list_page(self, question: Question, *, after: str = "", limit: int = MOST) -> list[Row]:
        """Leases by id, behind ``after``, at most ``limit`` (1000)."""
        wanted = min(max(limit, 1), MOST)
        if question.holder:
            question = replace(question, holder_kind=await self._find_kind(question.holder))
        return await self._pool.fetch(question.query, *question.parameters(after=after, limit=wanted))

    async def _find_kind(self, holder: str) -> Literal["name", "entity", "token"]:
        """Each has an index of its own; one OR over three would have none."""
        row = await self._pool.fetchrow("find_holder", holder)
        if row is None or row["is_name"]:
            return "name"
        return "entity" if row["is_entity"] else "token"

    async def list_next(self, limit: int) -> list[Row]:
        """Leases that are due first, overdue ones before all others."""
        return await self._pool.fetch("list_next_leases", 0, min(max(limit, 1), MOST))

    async def find(self, lease_id: str) -> Row | None:
        """A lease by its id, over or not."""
        return await self._pool.fetchrow("find_known_lease", 0, lease_id)

    async def list_of_account(self, account_name: str, limit: int) -> list[Row]:
        """Leases of an account on a target, over or not, the last one first."""
        return await self._pool.fetch("list_account_leases", 0, account_name, limit)

    async def hasten(self, lease_id: str) -> int:
        """Make a failed end due now; how many (0 or 1)."""
        return await self._pool.execute("hasten_lease", 0, lease_id, self._leases.generation)

    @again_after_conflict
    async def hasten_prefix(self, prefix: str) -> int:
        """Make the failed ends under a path due now; how many."""
        return await self._pool.execute(
            "hasten_leases_by_prefix", 0, prefix, after_prefix(prefix), self._leases.generation
        )

    async def abandon(self, lease_id: str, reason: str) -> Row | None:
        """Drop a lease whose end was begun: its row is a tombstone. None if it is not being ended."""
        return await self._pool.fetchrow("abandon_lease", 0, lease_id, self._leases.generation, reason)

    async def cap(self, lease_id: str, *, seconds: float | None, moment: datetime | None) -> Row | None:
        """Plan its end, ``seconds`` from now or at a moment; no renewal passes it. None if it is not active."""
        return await self._pool.fetchrow("cap_lease", lease_id, self._leases.generation, seconds, moment)
