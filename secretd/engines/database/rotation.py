"""A password that is rotated: its state, without I/O. The rules, numbered as ``account.py`` repeats them.

1. *Take*: one daemon at a time works on a rotation, for a minute; whoever takes it later may find it half done.
2. *Settle*: a candidate that is stored already, by whomever, is tried before anything is changed.
3. *Commit* the candidate, and until when a change to it may still arrive at the target (``late_until``, on the
   target's clock). No other candidate is drawn before the target's own clock has passed that moment; so a worker
   that was stopped and resumes sets the same password, or is refused.
4. *Change* on the target, under the account's lock and the target's clock.
5. *Log in* with it: a change that was only answered is not proved.
6. *Promote*: the candidate is current, the current is previous.

A definite refusal discards the candidate; it is kept until the next proof, since an earlier, unanswered change
may have set it. Silence discards nothing. Times are storage's except ``late_until``.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

import msgspec

from secretd.sdk.errors import ConflictError
from secretd.sdk.fields import Sensitive

CLAIM = timedelta(seconds=60)  # four calls of a target at the default deadline, and some
_FIRST_WAIT = 5.0  # seconds
_LONGEST_WAIT = 900.0
_KEPT = 3  # rejected candidates


class Rotation(msgspec.Struct, kw_only=True):
    """An account's passwords. ``due_time``: when a daemon looks at it again; None = when asked.

    ``next_time`` is the next scheduled rotation; it moves only when a rotation is proved.
    """

    fence_key: int  # the account's for life: a change that waits for the lock comes before the next one
    current: Sensitive | None = None
    candidate: Sensitive | None = None
    previous: Sensitive | None = None
    rejected: tuple[Sensitive, ...] = ()
    late_until: datetime | None = None
    epoch: int = 0
    attempts: int = 0  # since the last proof
    last_error: str = ""  # an error class
    last_time: datetime | None = None
    next_time: datetime | None = None
    due_time: datetime | None = None
    busy_until: datetime | None = None

    @property
    def is_settled(self) -> bool:
        """Whether ``current`` is certainly what the target accepts."""
        return self.candidate is None and not self.rejected and self.current is not None

    @property
    def is_in_doubt(self) -> bool:
        """Whether another password than ``current`` may be the one that works."""
        return self.candidate is not None or (bool(self.rejected) and self.late_until is not None)

    def is_busy(self, now: datetime) -> bool:
        """Whether a daemon works on it."""
        return self.busy_until is not None and self.busy_until > now

    def take(self, now: datetime, *, only_due: bool) -> int:
        """Begin a turn; its epoch. ConflictError if another has it or, with ``only_due``, nothing is due."""
        if self.is_busy(now):
            raise ConflictError("a rotation of this password is under way", retry_after=CLAIM.total_seconds())
        if only_due and (self.due_time is None or self.due_time > now):
            raise ConflictError("no rotation is due")
        self.epoch += 1
        self.attempts += 1
        self.busy_until = self.due_time = now + CLAIM
        return self.epoch

    def commit(self, epoch: int, candidate: Sensitive, deadline: datetime) -> None:
        """Say what the target is about to be told, and until when it may be."""
        self._require(epoch)
        self.candidate = candidate
        self.late_until = deadline if self.late_until is None else max(self.late_until, deadline)

    def promote(self, password: Sensitive, now: datetime, *, late: datetime | None) -> None:
        """``password`` has logged in. ``late``: until when earlier changes to it may yet arrive.

        Whoever proves it may say so; ConflictError if it is not in question any more.
        """
        if password == self.current:
            return
        if password != self.candidate and password not in self.rejected:
            raise ConflictError("the password was settled by somebody else")
        self.previous, self.current = self.current, password
        self.candidate, self.rejected = None, ()
        self.late_until = late
        self.attempts, self.last_error = 0, ""
        self.last_time, self.next_time = now, None
        self.busy_until = self.due_time = None

    def schedule(self, moment: datetime | None) -> None:
        """When the next rotation is due."""
        self.next_time = moment
        if self.busy_until is None and self.candidate is None:
            self.due_time = moment

    def fail(
        self, epoch: int, now: datetime, *, error: str, is_rejected: bool, late: datetime | None
    ) -> None:
        """End a turn without proof; the next comes after a wait that grows.

        ``late`` replaces ``late_until`` where the target's answer was definite: this turn's change is not on
        its way.
        """
        self._require(epoch)
        if is_rejected:
            self.reject()
        self.late_until = late
        self.last_error = error
        self.busy_until = None
        is_due = self.next_time is not None and self.next_time <= now
        self.due_time = now + back_off(self.attempts) if is_due or self.candidate else self.next_time

    def reject(self) -> None:
        """Put the candidate aside."""
        if self.candidate is not None:
            self.rejected = (self.candidate, *self.rejected)[:_KEPT]
            self.candidate = None

    def _require(self, epoch: int) -> None:
        if epoch != self.epoch:
            raise ConflictError("another daemon took the rotation over")


def begin(current: Sensitive | None = None) -> Rotation:
    """A rotation with a lock of its own."""
    # The first epoch is drawn, too: a role that is deleted and made again must not be taken for its first life.
    return Rotation(fence_key=secrets.randbits(64) - 2**63, epoch=secrets.randbits(40), current=current)


def back_off(attempts: int) -> timedelta:
    """The wait after so many attempts: doubled each time up to a quarter of an hour, a quarter of it jitter."""
    whole = min(_FIRST_WAIT * 2 ** min(attempts - 1, 16), _LONGEST_WAIT)
    return timedelta(seconds=whole * (0.75 + secrets.randbelow(250) / 1000))
