"""``secretd login``: trade credentials for a token and keep it in ``~/.vault-token``, mode 0600."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import click

from secretd.cli.base import Verb, pass_session
from secretd.cli.errors import LocalError
from secretd.cli.output import Table, View, pairs_table
from secretd.cli.session import Session, ask_hidden, envelope_fields, take_secret
from secretd.cli.settings import TOKEN_NAMES, find_variable, token_file
from secretd.cli.values import parse_values
from secretd.client.http import Answer
from secretd.sdk.fields import Sensitive

if TYPE_CHECKING:
    from collections.abc import Callable

_METHODS = ("token", "userpass", "approle")


@click.command(
    "login",
    cls=Verb,
    examples="""
secretd login                                              asks for a token without echo
printf %s "$TOKEN" | secretd login -
secretd login -method=userpass username=ann                asks for the password
secretd login -method=approle role_id=@role.id secret_id=@secret.id
""",
)
@click.argument("values", nargs=-1, metavar="[TOKEN|-|KEY=VALUE]...")
@click.option("--method", type=click.Choice(_METHODS), default="token", show_default=True)
@click.option("--path", metavar="PATH", help="Where the auth method is; else its name.")
@click.option("--no-store", is_flag=True, help="Do not keep the token.")
@click.option("--no-print", is_flag=True, help="Do not show the token.")
@click.option("--token-only", is_flag=True, help="Print the token and nothing else; do not keep it.")
@pass_session
def login(
    session: Session,
    values: tuple[str, ...],
    *,
    method: str,
    path: str | None,
    no_store: bool,
    no_print: bool,
    token_only: bool,
) -> None:
    """Log in and keep the token for later commands."""
    where = (path or method).strip("/")
    answer = (
        _by_token(session, values) if method == "token" else _by_auth(session, method, values, where=where)
    )
    auth = answer.body.get("auth")
    token = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(token, str):  # wrapped
        session.show(answer)
        return
    if token_only:
        session.flags.field = "token"
    elif not no_store:
        _keep(session, token)
    if not no_print:
        _show(session, answer)


def _by_token(session: Session, values: tuple[str, ...]) -> Answer:
    """Look the token up with itself, and shape the answer as a login's."""
    if len(values) > 1:
        raise LocalError("one token is wanted", hint="`secretd login`, or name a method: -method=userpass")
    given = values[0].removeprefix("token=") if values else None
    token = take_secret(given, label="Token", hint="pipe it in: `secretd login -`")
    session.act_as(Sensitive(token))
    found = session.send("GET", "auth/token/lookup-self")
    data = found.data
    auth = {
        "client_token": token,
        "accessor": data.get("accessor"),
        "lease_duration": data.get("ttl"),
        "renewable": bool(data.get("renewable")),
        "token_policies": data.get("policies"),
        "identity_policies": data.get("identity_policies") or [],
        "policies": [*(data.get("policies") or []), *(data.get("identity_policies") or [])],
        "metadata": data.get("meta") or {},
    }
    return Answer(found.status, {**found.body, "data": None, "auth": auth}, found.raw)


def _by_auth(session: Session, method: str, values: tuple[str, ...], *, where: str) -> Answer:
    given = parse_values(values)
    path, body = _REQUESTS[method](given, where)
    session.act_as(None)
    return session.send("PUT", path, body=body, private=True)


def _userpass(given: dict[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    username = given.pop("username", None)
    if not username:
        raise LocalError("there is no username", hint="`secretd login -method=userpass username=NAME`")
    if "password" not in given:
        given["password"] = ask_hidden("Password", hint="pipe it in: `secretd login … password=-`")
    return f"auth/{where}/login/{username}", given


def _approle(given: dict[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    if not given.get("role_id"):
        raise LocalError("there is no role_id", hint="`secretd login -method=approle role_id=ID`")
    if "secret_id" not in given:
        given["secret_id"] = ask_hidden("Secret ID", hint="pipe it in: `secretd login … secret_id=-`")
    # Files of ids end in a line break; an id never does.
    return f"auth/{where}/login", {key: str(value).strip() for key, value in given.items()}


_REQUESTS: dict[str, Callable[[dict[str, Any], str], tuple[str, dict[str, Any]]]] = {
    "userpass": _userpass,
    "approle": _approle,
}


def _keep(session: Session, token: str) -> None:
    """Replace the token file as a whole; it is 0600 from its first byte, under any umask."""
    target = token_file()
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".vault-token.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(token)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise LocalError(
            f"the token cannot be kept in {target}: {error.strerror}",
            hint="log in with -no-store or -token-only",
        ) from None
    variable, _ = find_variable(*TOKEN_NAMES)
    if variable:
        session.tell(f"Warning: {variable} is set and goes before the token just kept; unset it")


def _show(session: Session, answer: Answer) -> None:
    fields = envelope_fields(answer)
    blocks: list[Table | str] = ["Success! You are logged in.", pairs_table(fields)]
    session.show(answer, View(document=answer.body, fields=fields, blocks=blocks, raw=answer.raw))
