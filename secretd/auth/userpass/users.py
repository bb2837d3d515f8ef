"""``users/{username}``: who may log in, and what tokens they get."""

from __future__ import annotations

import msgspec

from secretd.auth.userpass.passwords import check_hash, hash_password
from secretd.auth.userpass.schemas import (
    Named,
    PasswordFields,
    PolicyFields,
    User,
    UserFields,
    get_name,
    user_key,
)
from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.fields import Sensitive
from secretd.sdk.path import Nothing
from secretd.sdk.request import Call
from secretd.sdk.response import Response, names
from secretd.sdk.storage import NEW, decode, find, save
from secretd.sdk.token_fields import TokenFields, TokenParameters


async def list_names(call: Call, _: Nothing) -> Response:
    """Names of the users."""
    after, limit = call.list_pages
    return names(await call.view.list("user/", after=after, limit=limit))


async def exists(call: Call, fields: UserFields) -> bool:
    """Whether the user is there."""
    return await call.view.get(user_key(get_name(fields.username))) is not None


async def read(call: Call, fields: Named) -> Response:
    """A user, without the password's hash."""
    user = await find(call.view, user_key(get_name(fields.username)), User)
    if user is None:
        raise NotFoundError
    return Response(data=user.token.shown())


async def write(call: Call, fields: UserFields) -> None:
    """Make or change a user."""
    key = user_key(get_name(fields.username))
    entry = await call.view.get(key)
    before = None if entry is None else decode(entry.value, User)
    token = (before.token if before else TokenParameters()).merge(fields)
    password_hash = await _hash(fields.password, fields.password_hash)
    if password_hash is None and before is not None:
        password_hash = before.password_hash
    if password_hash is None:
        raise InvalidRequestError("must provide either password or password_hash")
    user = User(password_hash=password_hash, token=token)
    await save(call.view, key, user, version=NEW if entry is None else entry.version)


async def delete(call: Call, fields: Named) -> None:
    """Forget a user. Tokens of earlier logins live until their end."""
    await call.view.delete(user_key(get_name(fields.username)))


async def write_password(call: Call, fields: PasswordFields) -> None:
    """Give a user another password."""
    user, version = await _get(call, fields.username)
    password_hash = await _hash(fields.password, fields.password_hash)
    if password_hash is None:
        raise InvalidRequestError("must provide either password or password_hash")
    changed = msgspec.structs.replace(user, password_hash=password_hash)
    await save(call.view, user_key(get_name(fields.username)), changed, version=version)


async def write_policies(call: Call, fields: PolicyFields) -> None:
    """Give a user other policies: for coming logins, not for tokens that are out."""
    user, version = await _get(call, fields.username)
    wish = TokenFields(token_policies=fields.token_policies, policies=fields.policies)
    changed = msgspec.structs.replace(user, token=user.token.merge(wish))
    await save(call.view, user_key(get_name(fields.username)), changed, version=version)


async def _get(call: Call, username: str) -> tuple[User, int]:
    entry = await call.view.get(user_key(get_name(username)))
    if entry is None:
        raise InvalidRequestError("username does not exist")
    return decode(entry.value, User), entry.version


async def _hash(password: Sensitive | None, password_hash: Sensitive | None) -> Sensitive | None:
    if password and password_hash:
        raise InvalidRequestError("password and password_hash exclude each other")
    if password_hash:
        return check_hash(password_hash)
    return await hash_password(password) if password else None
