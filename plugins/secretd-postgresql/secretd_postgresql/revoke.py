"""Death of accounts that were issued: shut the door, end sessions, hand over, drop, prove. In batches.

Their CREATE has been answered, so none can be on its way (rule 16).
1. NOLOGIN and VALID UNTIL in the past, committed: nobody comes in any more.
2. Look: who is there, with sessions, owning what.
3. End the sessions.  4. The recipe's own statements.  5. Hand over and drop what the account owns.
6. DROP ROLE.  7. Prove, in a new snapshot: no account, no session.
"""

from __future__ import annotations

from collections.abc import Sequence

from secretd.sdk.errors import InvalidRequestError, TargetError, TargetUnavailableError
from secretd.sdk.plugin import DoomedUser, Verdict
from secretd_postgresql.driver import Link, RefusedError
from secretd_postgresql.handover import Found, act_for, drop_owned, look
from secretd_postgresql.issue import do_block
from secretd_postgresql.sessions import end_sessions, list_session_roles
from secretd_postgresql.statements import fill, names_array, prepare
from secretd_postgresql.transaction import Access, begin, persist

REVOCATION_NAMES = ("name", "username", "expiration")
_PAST = "1970-01-01 00:00:00+00"
_SHUT = """DECLARE one name;
BEGIN
FOR one IN SELECT rolname FROM pg_roles WHERE rolname = ANY ({{names}}::name[]) ORDER BY rolname LOOP
  EXECUTE format('ALTER ROLE %I NOLOGIN VALID UNTIL %L', one, {{past}});
END LOOP;
END"""
_DROP = """DECLARE
  doomed constant text := (SELECT string_agg(format('%I', rolname), ', ' ORDER BY rolname)
    FROM pg_roles WHERE rolname = ANY ({{names}}::name[]));
BEGIN
  IF doomed IS NOT NULL THEN EXECUTE 'DROP ROLE ' || doomed; END IF;
END"""
_PROOF = "SELECT rolname::text AS name FROM pg_catalog.pg_roles WHERE rolname = ANY ($1::pg_catalog.name[])"


async def revoke_issued(access: Access, users: Sequence[DoomedUser]) -> list[Verdict]:
    """End accounts whose leases were activated; one verdict a member. A batch that fails is split."""
    try:
        return await persist(lambda: _revoke_batch(access, users))
    except RefusedError as error:
        if len(users) == 1:
            return [Verdict(name=users[0].name, outcome="error", past=True, error=error.name)]
    half = len(users) // 2
    return await revoke_issued(access, users[:half]) + await revoke_issued(access, users[half:])


async def _revoke_batch(access: Access, users: Sequence[DoomedUser]) -> list[Verdict]:
    async with access.pool.link() as link:
        batch = _Batch(access, link, users)
        return await batch.revoke()


class _Batch:
    """One pass over a batch on one session; numbers as in the module's head."""

    def __init__(self, access: Access, link: Link, users: Sequence[DoomedUser]) -> None:
        self._access = access
        self._link = link
        self._users = {user.name: user for user in users}
        self._errors: dict[str, str] = {}
        self._ended: dict[str, int] = {}

    async def revoke(self) -> list[Verdict]:
        names = list(self._users)
        await self._link.run(self._message(_SHUT, names, past=_PAST))  # 1
        found = await look(self._link, names)  # 2
        for one in found.values():
            if one.has_sessions or one.owns or self._users[one.name].recipe.revocation:
                await self._end_one(one)  # 3, 4, 5
        doomed = [name for name in found if name not in self._errors]
        if doomed:
            await self._link.run(self._message(_DROP, doomed))  # 6
        return await self._prove(names, found)  # 7

    def _message(self, body: str, names: Sequence[str], **values: str) -> str:
        return begin(self._access.reach) + do_block(body, names=names_array(names), **values) + "COMMIT"

    async def _end_one(self, found: Found) -> None:
        """Steps 3 to 5 for one member; its failure is its own."""
        user = self._users[found.name]
        try:
            await clear(self._access, self._link, user, found=found, ended=self._ended)
        except RefusedError as error:
            self._errors[found.name] = error.name
            await self._link.roll_back()
        except InvalidRequestError:
            self._errors[found.name] = "invalid_statements"
        except TargetUnavailableError:
            self._errors[found.name] = "database_unavailable"
        except TargetError:
            self._errors[found.name] = "database_refused"

    async def _prove(self, names: Sequence[str], found: dict[str, Found]) -> list[Verdict]:
        left = {row["name"] for row in await self._link.rows(_PROOF, list(names))}
        lively = await sessions_left(self._link, [one.oid for one in found.values()])
        return [
            self._verdict(name, left, lively=bool(name in found and found[name].oid in lively))
            for name in names
        ]

    def _verdict(self, name: str, left: set[str], *, lively: bool) -> Verdict:
        error = self._errors.get(name, "")
        ended = self._ended.get(name, 0)
        if error:
            return Verdict(name=name, outcome="error", past=True, sessions_ended=ended, error=error)
        if name in left or lively:
            reason = "account_remains" if name in left else "session_remains"
            return Verdict(name=name, outcome="present", past=True, sessions_ended=ended, error=reason)
        return Verdict(name=name, outcome="absent", past=True, sessions_ended=ended)


async def clear(access: Access, link: Link, user: DoomedUser, *, found: Found, ended: dict[str, int]) -> None:
    """End the account's sessions, run its recipe's statements, then hand over and drop what it owns.

    Raises RefusedError, SilentError and the contract's errors; the account itself is left for the caller.
    """
    if found.has_sessions or found.owns:
        await act_for(access, link, found)
    if found.has_sessions:
        ended[found.name] = (await end_sessions(link, [found.oid]))[found.oid]
    statements = prepare(user.recipe.revocation, REVOCATION_NAMES)
    if statements:
        values = {"name": user.name, "username": user.name, "expiration": _PAST}
        await link.run(begin(access.reach, own_path=False) + fill(statements, values) + "COMMIT")
        again = (await look(link, [user.name])).get(user.name)
        if again is None:
            return
        found = again
    if found.owns:
        await act_for(access, link, found)
        await drop_owned(access, link, found, group=user.recipe.group_role)


async def sessions_left(link: Link, oids: Sequence[int]) -> set[int]:
    """Look again by number after the drop: a login under way during NOLOGIN may have come in since."""
    if not oids:
        return set()
    lively = await list_session_roles(link, oids)
    if not lively:
        return set()
    try:
        await end_sessions(link, lively)
    except RefusedError:  # without pg_signal_backend nobody may end a session whose role is gone
        await link.roll_back()
    return await list_session_roles(link, lively)
