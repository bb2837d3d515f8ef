"""Password hashes: bcrypt, in two threads, so that neither the loop nor the machine belongs to logins.

1. Whoever logs in as nobody waits as long as for a wrong password: there is a hash to compare with.
2. More logins than :data:`MOST_WAITING` at once are turned away rather than queued for minutes.
"""

from __future__ import annotations

import asyncio
import functools
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

from secretd.sdk.errors import InvalidRequestError, RateLimitedError
from secretd.sdk.fields import Sensitive

T = TypeVar("T")
ROUNDS = 11  # about 0.15 s of one core
MOST_BYTES = 72  # bcrypt reads no further; cutting silently would make two passwords one
MOST_WAITING = 64
_THREADS = 2
_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}\Z")
_NOBODY = (
    b"$2b$11$NoerFtu07pH.PJ5Yzoy.F.qJdm1U6q7EJlsAK3yyiuBrJRdsMzxkC"  # of a password that was thrown away
)


async def hash_password(password: Sensitive) -> Sensitive:
    """The hash to store. InvalidRequestError: empty, or longer than bcrypt reads."""
    raw = _raw(password)
    if not raw:
        raise InvalidRequestError("must provide a password")
    if len(raw) > MOST_BYTES:
        raise InvalidRequestError(
            f"a password has at most {MOST_BYTES} bytes", hint="bcrypt reads no further"
        )
    return Sensitive((await _threads().run(lambda: bcrypt.hashpw(raw, bcrypt.gensalt(ROUNDS)))).decode())


def check_hash(given: Sensitive) -> Sensitive:
    """A bcrypt hash made elsewhere, if its cost is one that we can bear."""
    found = _HASH.match(given.reveal())
    if found is None or not 10 <= int(found[1]) <= 14:
        raise InvalidRequestError("password_hash is not a valid bcrypt hash", hint="with a cost of 10 to 14")
    return given


async def matches(password: Sensitive, stored: Sensitive | None) -> bool:
    """Whether the password is the one; None (no such user) is compared all the same, and is never it."""
    raw = _raw(password)
    known = _NOBODY if stored is None else stored.reveal().encode()
    same = await _threads().run(lambda: bcrypt.checkpw(raw[:MOST_BYTES], known))
    return same and stored is not None and len(raw) <= MOST_BYTES


def _raw(password: Sensitive) -> bytes:
    return password.reveal().encode("utf-8", "surrogatepass")


class _Threads:
    """The threads, and places before them."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="bcrypt")
        self._places = threading.Semaphore(MOST_WAITING)

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in a thread; RateLimitedError if too much waits already."""
        if not self._places.acquire(blocking=False):
            raise RateLimitedError("too many logins at once")
        future = self._executor.submit(work)
        future.add_done_callback(lambda _: self._places.release())  # also of one cancelled while it waited
        return await asyncio.wrap_future(future)


@functools.cache
def _threads() -> _Threads:
    return _Threads()
