"""What handlers of this ring share: the whole call, the deadline's wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from secretd.core.pipeline import SystemCall
from secretd.core.policy.acl import Acl
from secretd.sdk.errors import PermissionDeniedError, UnavailableError
from secretd.sdk.request import Call
from secretd.storage.tokens import TokenRow

_SHARE = 0.9  # of the request's deadline: the answer must still be written


def system_call(call: Call) -> SystemCall:
    """The call with its request and token; a TypeError would be a mistake in wiring."""
    if not isinstance(call, SystemCall):
        raise TypeError("a mount of kind system gets a SystemCall")
    return call


def own_token(call: Call) -> tuple[str, TokenRow]:
    """The caller's token in clear and its row; PermissionDeniedError without one."""
    whole = system_call(call)
    if whole.token is None or whole.request.token is None:
        raise PermissionDeniedError
    return whole.request.token.reveal(), whole.token


def own_acl(call: Call) -> Acl:
    """The caller's rights; PermissionDeniedError without a token."""
    acl = system_call(call).acl
    if acl is None:
        raise PermissionDeniedError
    return acl


def has_sudo(call: Call) -> bool:
    """Whether the caller's policies have ``sudo`` on this very path."""
    try:
        own_acl(call).require_sudo(system_call(call).request.path)
    except PermissionDeniedError:
        return False
    return True


async def wait_for(work: Awaitable[None], *, deadline: float, what: str) -> None:
    """Wait within the request's deadline (seconds); UnavailableError says what goes on without the caller."""
    try:
        async with asyncio.timeout(deadline * _SHARE):
            await work
    except TimeoutError:
        raise UnavailableError(
            f"{what} not over within the request's deadline",
            hint="secretd goes on; ask again, or look at `secretd lease`",
        ) from None
