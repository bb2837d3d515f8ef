"""Turning a password over, step by step, for whoever's it is. The rules are those of ``rotation.py``.

A daemon may be killed between any two lines here; the next turn, of any daemon, begins where the stored state is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from secretd.engines.database import schedule
from secretd.engines.database.connections import measure, measure_again
from secretd.engines.database.roles import bits_of
from secretd.engines.database.rotation import Rotation
from secretd.engines.database.schemas import Target
from secretd.sdk.credential import make_password
from secretd.sdk.engine import System
from secretd.sdk.errors import (
    ClockError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    SecretdError,
    TargetAuthError,
    TargetError,
    TargetUnavailableError,
)
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import ChangePassword, DatabasePlugin
from secretd.sdk.storage import View

T = TypeVar("T")
WINDOW = timedelta(seconds=10)  # from a candidate's commit to the last moment at which the target takes it
_TRIES = 5


@dataclass(slots=True)
class Held:
    """What was read: the rotation, the record it lives in, the versions to write against."""

    rotation: Rotation
    record: Any
    versions: tuple[int, ...]
    due_before: datetime | None


@dataclass(slots=True, frozen=True)
class Means:
    """How an account's password is drawn and set."""

    target_id: str
    target: Target
    username: str
    statements: tuple[str, ...]
    policy: str


class Account(ABC):
    """An account whose password is rotated. ``what`` names it in the schedule."""

    what: str

    def __init__(self, system: System, view: View) -> None:
        self.system = system
        self.view = view

    @abstractmethod
    async def read(self, view: View) -> Held | None:
        """What is stored now."""

    @abstractmethod
    async def write(self, view: View, held: Held) -> None:
        """Store it; ConflictError if it changed meanwhile."""

    @abstractmethod
    async def means(self) -> Means:
        """InvalidRequestError names what is missing."""

    @abstractmethod
    async def adopt(self, held: Held, password: Sensitive) -> None:
        """``password`` is promoted: change what else depends on it."""

    async def change(self, deed: Callable[[Rotation], T], *, password: Sensitive | None = None) -> T:
        """Read, do, write; again when somebody wrote between. ``password`` is one to adopt."""
        for _ in range(_TRIES):
            held = await self.read(self.view)
            if held is None:
                raise NotFoundError
            result = deed(held.rotation)
            if password is not None:
                await self.adopt(held, password)
            try:
                await self.keep(held)
            except ConflictError:
                continue
            return result
        raise ConflictError

    async def keep(self, held: Held) -> None:
        """Write what was read, and when it is due."""
        async with self.view.transaction() as inside:
            await self.write(inside, held)
            after = held.rotation.due_time
            await schedule.move(inside, self.what, before=held.due_before, after=after)

    def plugin(self, means: Means) -> DatabasePlugin:
        """The target's plugin."""
        return self.system.database_plugin(means.target.plugin)

    async def can_log_in(self, means: Means, password: Sensitive) -> bool:
        """Whether the target accepts the password now."""
        return await self.plugin(means).probe(means.target.config, means.username, password)


async def rotate(account: Account, *, only_due: bool = False) -> None:
    """One turn. ConflictError: another daemon has it, or nothing is due; errors of the target as they are."""
    now = await schedule.storage_now(account.system)
    seen: list[Rotation] = []

    def take(rotation: Rotation) -> int:
        seen.append(rotation)
        return rotation.take(now, only_due=only_due)

    epoch = await account.change(take)  # 1
    await _Turn(account, epoch, seen[-1]).run()


class _Turn:
    """``late``: until when changes that others sent may arrive; None = there are none."""

    def __init__(self, account: Account, epoch: int, rotation: Rotation) -> None:
        self.account = account
        self.epoch = epoch
        self.rotation = rotation
        self.late = rotation.late_until
        self.is_sent = False

    async def run(self) -> None:
        try:
            means = await self.account.means()
            proved = await self._settle(means) or await self._set(means)
        except (TargetError, InvalidRequestError, ClockError) as error:
            await self._fail(error)
            raise
        now = await schedule.storage_now(self.account.system)
        await self.account.change(  # 6
            lambda rotation: rotation.promote(proved, now, late=self.late), password=proved
        )

    async def _settle(self, means: Means) -> Sensitive | None:
        """A stored candidate that the target accepts already."""
        candidate, rejected = self.rotation.candidate, self.rotation.rejected  # 2
        newest = candidate or next(iter(rejected), None)
        if newest is None:
            return None
        if await self.account.can_log_in(means, newest):
            return newest
        if candidate is not None:
            return None  # an older one must not be believed while this one may arrive
        await self._require_nothing_late(means)
        for password in rejected:  # the newest again: it may have arrived since
            if await self.account.can_log_in(means, password):
                return password
        return None

    async def _set(self, means: Means) -> Sensitive:
        account, target = self.account, means.target
        bits = await bits_of(account.system, means.policy)
        candidate = self.rotation.candidate or await self._draw(means)
        deadline = await self._deadline(target)
        await account.change(lambda rotation: rotation.commit(self.epoch, candidate, deadline))  # 3
        change = ChangePassword(
            name=means.username,
            password=candidate,
            statements=means.statements,
            fence_key=self.rotation.fence_key,
            target_deadline=deadline,
            password_bits=bits,
        )
        self.is_sent = True
        await account.plugin(means).change_password(target.config, change)  # 4
        if not await account.can_log_in(means, candidate):  # 5
            raise TargetAuthError(
                "the target refuses a login with the new password",
                hint="may the account log in? LOGIN, VALID UNTIL, pg_hba.conf",
            )
        return candidate

    async def _draw(self, means: Means) -> Sensitive:
        """Another candidate, once no change to an older one can be on its way."""
        await self._require_nothing_late(means)
        policy = means.policy
        return await self.account.system.generate_password(policy) if policy else Sensitive(make_password())

    async def _require_nothing_late(self, means: Means) -> None:
        if self.late is not None:
            state = await self.account.plugin(means).verify(means.target.config)
            if state.clock < self.late:
                raise TargetError("a change that was sent before may still arrive", retry_after=10.0)
            self.late = None

    async def _deadline(self, target: Target) -> datetime:
        if target.offset is None:
            target.offset, _ = await measure(self.account.system, target)
        now = await schedule.storage_now(self.account.system)
        return now + timedelta(seconds=target.offset) + WINDOW

    async def _fail(self, error: SecretdError) -> None:
        """Note it. Only a definite answer of the target ends the doubt about the change that was sent."""
        is_silent = isinstance(error, (TargetUnavailableError, ClockError)) or error.code == "plugin_failed"
        is_refusal = type(error) is TargetError and error.retry_after is None and self.is_sent
        was_late = is_refusal and await self._was_late()
        is_rejected = not was_late and (is_refusal or (self.is_sent and type(error) is InvalidRequestError))
        now = await schedule.storage_now(self.account.system)

        def note(rotation: Rotation) -> None:
            late = rotation.late_until if is_silent and self.is_sent else self.late
            rotation.fail(self.epoch, now, error=error.code, is_rejected=is_rejected, late=late)

        try:
            await self.account.change(note)
        except (ConflictError, NotFoundError):
            return  # another daemon went on with it, or it is gone: the error still says what we saw

    async def _was_late(self) -> bool:
        """Whether the refusal was the clock's: our idea of the target's was wrong, not the password."""
        means = await self.account.means()
        return await measure_again(self.account.system, self.account.view, means.target_id, means.target)
