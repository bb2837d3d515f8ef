"""``creds/{name}``: a login's whole life. Deed and undoing on one page.

prepare  two reads, nothing written, nothing touched: the name, the spans, the frozen recipe
issue    one CREATE on the target, under the lease's fence and deadline
renew    VALID UNTIL forward, on the target's clock
revoke   a batch of one target: sessions ended, logins removed, each proved absent
"""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from typing import Any

import msgspec

from secretd.engines.database.connections import measure_again, missing
from secretd.engines.database.roles import bits_of, is_allowed, require_strong
from secretd.engines.database.schemas import (
    Connection,
    Frozen,
    Named,
    Role,
    Target,
    config_key,
    role_key,
    target_key,
)
from secretd.sdk.credential import UsernameTemplate, make_password, make_username
from secretd.sdk.engine import System
from secretd.sdk.errors import ClockError, InvalidRequestError, SecretdError, TargetError
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import DoomedUser, NewUser, RenewUser
from secretd.sdk.request import Call
from secretd.sdk.secret_type import VALID_UNTIL_GRACE, Birth, Doomed, End, Plan, Renewal, SecretType
from secretd.sdk.storage import View, decode, find

_GRACE = timedelta(seconds=VALID_UNTIL_GRACE)


class Private(msgspec.Struct, frozen=True, kw_only=True):
    """From prepare to issue, nowhere else."""

    password: Sensitive
    password_bits: float
    target: Target


async def prepare(call: Call, fields: Named) -> Plan:
    """Choose the login. InvalidRequestError names the role or connection that is missing."""
    role = await find(call.view, role_key(fields.name), Role)
    if role is None:
        raise InvalidRequestError(f"unknown role: {fields.name}")
    connection = await find(call.view, config_key(role.db_name), Connection)
    if connection is None:
        raise missing(role.db_name)
    if not is_allowed(fields.name, connection.allowed_roles):
        raise InvalidRequestError(
            f'"{fields.name}" is not an allowed role',
            hint=f"add it to allowed_roles of config/{role.db_name}",
        )
    policy = role.password_policy or connection.password_policy
    bits = await bits_of(call.system, policy)
    require_strong(connection, bits)
    password = await call.system.generate_password(policy) if policy else Sensitive(make_password())
    return Plan(
        account_name=make_username(
            _template(connection.username_template),
            display_name=call.caller.display_name,
            role_name=fields.name,
            now=call.system.clock.now(),
        ),
        ttl=role.default_ttl,
        max_ttl=role.max_ttl,
        recipe=Frozen(target_id=connection.target_id, recipe=role.recipe),
        role=fields.name,
        role_key=role_key(fields.name),
        target=f"{role.db_name}/{connection.target_id}",
        target_offset=connection.target.offset or 0.0,
        private=Private(password=password, password_bits=bits, target=connection.target),
    )


async def issue(system: System, view: View, birth: Birth) -> dict[str, Any]:
    """Create the login, once; the data of the answer."""
    plan = birth.plan
    private: Private = plan.private
    frozen = plan.recipe
    assert isinstance(frozen, Frozen)
    user = NewUser(
        name=plan.account_name,
        password=private.password,
        recipe=frozen.recipe,
        fence_key=birth.fence_key,
        target_deadline=birth.target_deadline,
        valid_until=birth.target_deadline + timedelta(seconds=birth.ttl) + _GRACE,
        password_bits=private.password_bits,
    )
    try:
        await system.database_plugin(private.target.plugin).create_user(private.target.config, user)
    except SecretdError as error:
        if _may_be_late(error):
            await measure_again(system, view, frozen.target_id, private.target)
        raise
    return {"username": plan.account_name, "password": private.password.reveal()}


async def renew(system: System, view: View, renewal: Renewal) -> datetime:
    """Move VALID UNTIL forward; until when, by storage's clock, the target then lets it live."""
    frozen = decode(renewal.recipe, Frozen)
    target = await find(view, target_key(frozen.target_id), Target)
    if target is None:
        raise TargetError("the lease's target is not known any more")
    shift = timedelta(seconds=target.offset or 0.0) + _GRACE
    user = RenewUser(
        name=renewal.account_name,
        recipe=frozen.recipe,
        fence_key=renewal.fence_key,
        valid_until=renewal.until + shift,
    )
    return await system.database_plugin(target.plugin).renew_user(target.config, user) - shift


async def revoke(system: System, view: View, doomed: tuple[Doomed, ...]) -> list[End]:
    """End the logins of one target. A failure of the whole call is each member's."""
    recipes = [decode(one.recipe, Frozen) for one in doomed]
    target = await find(view, target_key(recipes[0].target_id), Target)
    if target is None:
        return [End(one.lease_id, "error", error="target_unknown") for one in doomed]
    users = tuple(
        DoomedUser(
            name=one.account_name,
            recipe=frozen.recipe,
            fence_key=one.fence_key,
            target_deadline=one.target_deadline,
            was_issued=one.was_issued,
        )
        for one, frozen in zip(doomed, recipes, strict=True)
    )
    try:
        verdicts = await system.database_plugin(target.plugin).delete_users(target.config, users)
    except SecretdError as error:
        return [End(one.lease_id, "error", error=error.code) for one in doomed]
    found = {verdict.name: verdict for verdict in verdicts}
    return [
        End(one.lease_id, v.outcome, past=v.past, sessions_ended=v.sessions_ended, error=v.error)
        for one in doomed
        if (v := found.get(one.account_name)) is not None
    ]


def batch_key(recipe: bytes) -> str:
    """Logins of one target share a call."""
    return decode(recipe, Frozen).target_id


def _may_be_late(error: SecretdError) -> bool:
    """Whether the target's clock may have been past the deadline, so that the offset we know is wrong.

    A target that refuses says in one class why: its clock, or anything else. Silence is another class.
    """
    return isinstance(error, ClockError) or type(error) is TargetError


@functools.lru_cache(maxsize=256)
def _template(text: str) -> UsernameTemplate | None:
    return UsernameTemplate.compile(text) if text else None


CREDS = SecretType(
    "creds", fields=Named, prepare=prepare, issue=issue, renew=renew, revoke=revoke, batch_key=batch_key
)
