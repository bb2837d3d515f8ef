"""``login/{username}``: a password becomes a token. Every refusal is the same sentence, after the same work."""

from __future__ import annotations

from secretd.auth.userpass.passwords import matches
from secretd.auth.userpass.schemas import Login, User, find_name, user_key
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.request import Call
from secretd.sdk.response import Response
from secretd.sdk.storage import find
from secretd.sdk.token_fields import display_name_of


async def log_in(call: Call, fields: Login) -> Response:
    """A token for the user."""
    if not fields.password:
        raise InvalidRequestError("missing password")
    name = find_name(fields.username)
    user = None if name is None else await find(call.view, user_key(name), User)
    is_right = await matches(fields.password, None if user is None else user.password_hash)
    if name is None or user is None or not is_right:
        raise InvalidRequestError("invalid username or password")
    return Response(
        login=user.token.auth(
            display_name=display_name_of(call.mount, name),
            metadata={"username": name},
            role_key=user_key(name),
            alias_name=name,
        )
    )
