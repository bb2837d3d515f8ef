"""Tokens: who may be born, for how long, and how a tree ends.

1. A child's policies are a subset of its maker's, unless the maker is root or has sudo there.
2. Only a root token makes a root token; nothing else but init and recovery does.
3. A token's end is the least of what was asked, its explicit maximum, the mount's maximum and its parent's end;
   what cut it is named in a warning. A periodic token has no maximum but its period begins anew on renewal.
4. Ending a token ends its descendants and makes their leases due, in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secretd.core.keys import Keys
from secretd.core.policy.builtin import DEFAULT, normalise_policy_names, require_assignable
from secretd.crypto.digest import random_token
from secretd.sdk.engine import Mount
from secretd.sdk.errors import ConflictError, InvalidRequestError, PermissionDeniedError
from secretd.sdk.response import Auth, Response, TokenGrant
from secretd.sdk.ttl import Limit, Span, shortest
from secretd.storage.leases import Leases
from secretd.storage.tokens import NewToken, TokenRow, Tokens

ROOT = "root"
_ACCESSOR_LENGTH = 24


@dataclass(slots=True, frozen=True, kw_only=True)
class Wish:
    """What a caller of ``auth/token/create`` asks for. Spans are seconds; 0 = not said."""

    id: str = ""
    policies: tuple[str, ...] = ()
    ttl: int = 0
    explicit_max_ttl: int = 0
    period: int = 0
    num_uses: int = 0
    metadata: dict[str, str] | None = None
    display_name: str = "token"
    no_default_policy: bool = False
    no_parent: bool = False
    orphan: bool = False  # by the path that makes orphans: the policy on it is the right
    renewable: bool = True


class TokenService:
    """Creates, renews and ends tokens. ``wake`` tells the revoker that leases became due."""

    def __init__(self, *, tokens: Tokens, leases: Leases, keys: Keys, wake: Callable[[], None]) -> None:
        self._tokens = tokens
        self._leases = leases
        self._keys = keys
        self._wake = wake

    async def create(self, parent: TokenRow, wish: Wish, *, mount: Mount, has_sudo: bool) -> Response:
        """A child of ``parent`` (or an orphan made by it)."""
        policies = _policies_of(parent, wish, has_sudo=has_sudo)
        _require_rights(parent, wish, policies, has_sudo=has_sudo)
        never_ends = policies == (ROOT,) and not (wish.ttl or wish.period or wish.explicit_max_ttl)
        if never_ends and parent.expire_time is not None:
            raise InvalidRequestError("expiring root tokens cannot create non-expiring root tokens")
        is_orphan = wish.no_parent or wish.orphan
        span, max_ttl = _spans(wish, mount, None if is_orphan else parent.ttl)
        if span.seconds <= 0 and not never_ends:  # storage takes 0 for "never", which a dying root could give
            raise InvalidRequestError("no time is left for a child", hint="renew the parent first")
        token = wish.id or random_token("hvs.", 24)
        new = NewToken(
            id=self._keys.hash_token(token),
            accessor=random_token("", _ACCESSOR_LENGTH),
            display_name="token-" + wish.display_name if wish.display_name != "token" else "token",
            path="auth/token/create-orphan" if wish.orphan else "auth/token/create",
            policies=policies,
            metadata=wish.metadata,
            entity_id=parent.entity_id,
            is_renewable=wish.renewable and not never_ends,
            is_root=policies == (ROOT,),
            ttl=0 if never_ends else span.seconds,
            period=wish.period,
            explicit_max_ttl=wish.explicit_max_ttl,
            max_ttl=0 if never_ends or (wish.period and not wish.explicit_max_ttl) else max_ttl,
            num_uses=wish.num_uses,
        )
        try:
            ttl = await self._tokens.insert_child(new, parent_id=parent.id, orphan=is_orphan)
        except ConflictError:
            raise InvalidRequestError("cannot create a token with a duplicate ID") from None
        if ttl is None:
            raise PermissionDeniedError
        warnings = [span.warning] if span.warning and not never_ends else []
        return Response(auth=_grant(token, new, ttl, orphan=is_orphan), warnings=warnings)

    async def log_in(self, login: Auth, *, mount: Mount, path: str, role_key: str) -> Response:
        """The token of a login that an auth method vouches for."""
        names = normalise_policy_names([*login.policies, *([] if login.no_default_policy else [DEFAULT])])
        require_assignable(names)
        if ROOT in names:
            raise InvalidRequestError("a login cannot get the root policy")
        wish = Wish(ttl=login.ttl, explicit_max_ttl=login.explicit_max_ttl, period=login.period)
        span, max_ttl = _spans(wish, mount, None, role_max=login.max_ttl)
        token = random_token("hvs.", 24)
        new = NewToken(
            id=self._keys.hash_token(token),
            accessor=random_token("", _ACCESSOR_LENGTH),
            display_name=login.display_name,
            path=path,
            policies=names,
            metadata=login.metadata or None,
            is_renewable=login.renewable,
            ttl=span.seconds,
            period=login.period,
            explicit_max_ttl=login.explicit_max_ttl,
            max_ttl=0 if login.period and not login.explicit_max_ttl else max_ttl,
            num_uses=login.num_uses,
        )
        ttl = await self._tokens.insert_login(new, mount_id=mount.id, role_key=role_key)
        if ttl is None:
            raise PermissionDeniedError
        return Response(
            auth=_grant(token, new, ttl, orphan=True), warnings=[span.warning] if span.warning else []
        )

    async def renew(self, token: TokenRow, increment: int, *, mount: Mount, client_token: str) -> Response:
        """Move a token's end; 0 = by the TTL that it was made with. A periodic one takes its period."""
        if token.expire_time is None or not token.is_renewable:
            raise InvalidRequestError("lease is not renewable")
        wish = Wish(ttl=increment or token.creation_ttl, period=token.period)
        span, _ = _spans(wish, mount, None)
        renewed = await self._tokens.renew(token.id, span.seconds)
        if renewed is None or renewed.ttl is None:
            raise InvalidRequestError("token not found")
        cut = span.warning
        if not cut and renewed.ttl < span.seconds - 1:
            cut = f"TTL of {span.seconds}s was cut to {round(renewed.ttl)}s by the token's maximum or its parent's end"
        new = NewToken(
            id=token.id,
            accessor=token.accessor,
            display_name=token.display_name,
            path=token.path,
            policies=token.policies,
            metadata=token.metadata,
            entity_id=token.entity_id,
            ttl=0,
            num_uses=token.num_uses,
        )
        grant = _grant(client_token, new, renewed.ttl, orphan=token.parent_id is None)
        grant.is_new = False
        return Response(auth=grant, warnings=[cut] if cut else [])

    async def end(self, token_id: bytes, reason: str) -> list[str]:
        """End a token's tree; the ids of leases that are due now."""
        due = await self._tokens.end([token_id], generation=self._leases.generation, reason=reason)
        self._wake()
        return due

    async def end_alone(self, token_id: bytes, reason: str) -> list[str]:
        """End one token and orphan its children."""
        due = await self._tokens.end_alone(token_id, generation=self._leases.generation, reason=reason)
        self._wake()
        return due


def _policies_of(parent: TokenRow, wish: Wish, *, has_sudo: bool) -> tuple[str, ...]:
    asked = normalise_policy_names(wish.policies)
    require_assignable(asked)
    wanted = asked or parent.policies
    if wanted == (ROOT,):
        return wanted
    may_choose = has_sudo or parent.is_root
    if not may_choose and not set(wanted) <= set(parent.policies):
        raise InvalidRequestError("child policies must be subset of parent")
    has_default = DEFAULT in parent.policies or (may_choose and bool(asked))
    default = (DEFAULT,) if has_default and not wish.no_default_policy else ()
    return normalise_policy_names(
        [*(p for p in wanted if not wish.no_default_policy or p != DEFAULT), *default]
    )


def _require_rights(parent: TokenRow, wish: Wish, policies: tuple[str, ...], *, has_sudo: bool) -> None:
    if ROOT in policies and not parent.is_root:
        raise InvalidRequestError("root tokens may not be created without parent token being root")
    if parent.num_uses:
        raise InvalidRequestError("restricted use token cannot generate child tokens")
    may = has_sudo or parent.is_root
    if wish.id and not may:
        raise InvalidRequestError("root or sudo privileges required to specify token id")
    if wish.id and (not wish.id.isascii() or not wish.id.isprintable() or " " in wish.id or "." in wish.id):
        raise InvalidRequestError("a token id is printable ASCII without spaces and dots")
    if wish.period and not may:
        raise InvalidRequestError("root or sudo privileges required to create periodic token")
    if wish.no_parent and not may:
        raise InvalidRequestError("root or sudo privileges required to create orphan token")


def _spans(wish: Wish, mount: Mount, parent_ttl: float | None, *, role_max: int = 0) -> tuple[Span, int]:
    """The TTL with its warning, and the max TTL (of a periodic token: only its explicit one)."""
    limits = [
        Limit("explicit_max_ttl", wish.explicit_max_ttl),
        Limit("the parent token's end", parent_ttl),
        Limit("the mount's max_lease_ttl", mount.max_lease_ttl),
    ]
    max_ttl = wish.explicit_max_ttl
    if not wish.period:
        limits.append(Limit("the role's max_ttl", role_max))
        max_ttl = min(s for s in (role_max, mount.max_lease_ttl, wish.explicit_max_ttl) if s)
    return shortest(wish.period or wish.ttl or mount.default_lease_ttl, *limits), max_ttl


def _grant(token: str, new: NewToken, ttl: float, *, orphan: bool) -> TokenGrant:
    return TokenGrant(
        client_token=token,
        accessor=new.accessor,
        policies=new.policies,
        token_policies=new.policies,
        metadata=new.metadata or {},
        lease_duration=round(ttl),
        renewable=new.is_renewable,
        entity_id=new.entity_id,
        orphan=orphan,
        num_uses=new.num_uses,
    )
