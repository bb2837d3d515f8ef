"""``secretd token …``. A token argument may be ``-``: then it is read from standard input."""

from __future__ import annotations

from typing import Any

import click

from secretd.cli.base import VerbGroup, pass_session
from secretd.cli.errors import LocalError
from secretd.cli.output import View
from secretd.cli.session import Session, take_secret
from secretd.cli.values import parse_pairs

_HINT = "pipe it in and write - for the token"
accessor_option = click.option("--accessor", is_flag=True, help="The argument is an accessor, not a token.")


@click.group(
    "token", cls=VerbGroup, examples="secretd token create -policy=app -ttl=1h\nsecretd token lookup"
)
def token() -> None:
    """Create, look up, renew and revoke tokens."""


@token.command(
    "create",
    examples="""
secretd token create -policy=app -ttl=1h
secretd token create -orphan -period=24h -policy=ci -display-name=ci
secretd token create -policy=app -use-limit=1 -field=token
""",
)
@click.option("--policy", "policies", multiple=True, metavar="NAME", help="May be repeated; else yours.")
@click.option("--ttl", metavar="DURATION", help="How long it lives unless renewed.")
@click.option("--explicit-max-ttl", metavar="DURATION", help="It ends then, renewed or not.")
@click.option("--period", metavar="DURATION", help="Renewable for ever, by this span.")
@click.option("--use-limit", "num_uses", type=int, metavar="N", help="It ends after N uses.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="For the audit; may be repeated.")
@click.option("--display-name", metavar="TEXT", help="Names the token in the audit.")
@click.option("--id", "id_", metavar="TOKEN", help="The token itself, for tests; root only.")
@click.option("--type", "type_", metavar="WORD", help="service or batch.")
@click.option("--role", metavar="NAME", help="Create it by a token role.")
@click.option("--entity-alias", metavar="NAME", help="With a role that allows it.")
@click.option("--renewable/--no-renewable", default=None, help="Can it be renewed? Yes if not given.")
@click.option("--orphan", is_flag=True, help="It outlives its maker.")
@click.option("--no-default-policy", is_flag=True, help="Leave the default policy out.")
@pass_session
def create(
    session: Session, *, role: str | None, orphan: bool, metadata: tuple[str, ...], **given: Any
) -> None:
    """Create a token, a child of yours unless -orphan is given."""
    policies = [name.strip() for item in given.pop("policies") for name in item.split(",") if name.strip()]
    body = {
        key.rstrip("_"): value for key, value in given.items() if value is not None and value is not False
    }
    body |= {"policies": policies} if policies else {}
    body |= {"meta": parse_pairs(metadata, what="--metadata")} if metadata else {}
    if role and orphan:
        raise LocalError(
            "-role and -orphan exclude each other", hint="the role says whether its tokens are orphans"
        )
    path = f"create/{role}" if role else "create-orphan" if orphan else "create"
    session.show(session.send("POST", f"auth/token/{path}", body=body, private="id" in body))


@token.command("lookup", examples="secretd token lookup\nsecretd token lookup -accessor ACCESSOR")
@click.argument("token_", metavar="[TOKEN|ACCESSOR|-]", required=False)
@accessor_option
@pass_session
def lookup(session: Session, token_: str | None, *, accessor: bool) -> None:
    """Show a token's properties; yours if none is given."""
    if token_ is None and not accessor:
        session.show(session.send("GET", "auth/token/lookup-self"))
        return
    path, body = _named("lookup", token_, accessor=accessor)
    session.show(session.send("POST", path, body=body, private=not accessor))


@token.command("renew", examples="secretd token renew\nsecretd token renew -increment=1h -")
@click.argument("token_", metavar="[TOKEN|ACCESSOR|-]", required=False)
@click.option("--increment", "-i", metavar="DURATION", help="Ask for this much more time from now.")
@accessor_option
@pass_session
def renew(session: Session, token_: str | None, *, increment: str | None, accessor: bool) -> None:
    """Renew a token; yours if none is given."""
    if token_ is None and not accessor:
        path, body = "auth/token/renew-self", dict[str, str]()
    else:
        path, body = _named("renew", token_, accessor=accessor)
    if increment:
        body["increment"] = increment
    session.show(session.send("POST", path, body=body, private=True))


@token.command("revoke", examples="secretd token revoke -self\nsecretd token revoke -accessor ACCESSOR")
@click.argument("token_", metavar="[TOKEN|ACCESSOR|-]", required=False)
@click.option("--self", "self_", is_flag=True, help="Revoke the token that you use.")
@click.option("--mode", type=click.Choice(["orphan"]), help="orphan: leave its children alive.")
@accessor_option
@pass_session
def revoke(session: Session, token_: str | None, *, self_: bool, mode: str | None, accessor: bool) -> None:
    """Revoke a token with its children and all their leases."""
    if self_ and (token_ or accessor or mode):
        raise LocalError("-self goes with nothing else", hint="`secretd token revoke -self`")
    if mode and accessor:
        raise LocalError("-mode=orphan needs the token itself, not its accessor")
    if self_:
        answer = session.send("POST", "auth/token/revoke-self")
    else:
        if token_ is None:
            raise LocalError("there is no token to revoke", hint="name one, or say -self for yours")
        path, body = _named("revoke", token_, accessor=accessor)
        answer = session.send("POST", f"{path}-orphan" if mode else path, body=body, private=not accessor)
    session.show_done(answer, "Success! Revoked token (if it existed)")


@token.command(
    "capabilities",
    examples="secretd token capabilities secret/data/app\nsecretd token capabilities - secret/data/app",
)
@click.argument("args", nargs=-1, required=True, metavar="[TOKEN|ACCESSOR|-] PATH")
@accessor_option
@pass_session
def capabilities(session: Session, args: tuple[str, ...], *, accessor: bool) -> None:
    """Show what a token may do at a path; yours if none is given."""
    if len(args) > 2 or (accessor and len(args) != 2):  # a token and a path
        raise LocalError("a token (or an accessor) and one path are wanted")
    suffix, body = "-self", dict[str, str]()
    if len(args) > 1:
        suffix = "-accessor" if accessor else ""
        key = "accessor" if accessor else "token"
        body[key] = args[0] if accessor else take_secret(args[0], label="Token", hint=_HINT)
    path = args[-1]
    answer = session.send(
        "POST", f"sys/capabilities{suffix}", body={**body, "paths": [path]}, private=bool(body)
    )
    granted = answer.data.get(path) or answer.data.get("capabilities") or []
    fields = {"capabilities": granted}
    view = View(document=granted, fields=fields, blocks=[", ".join(map(str, granted))], raw=answer.raw)
    session.show(answer, view)


def _named(verb: str, given: str | None, *, accessor: bool) -> tuple[str, dict[str, str]]:
    if accessor:
        if not given:
            raise LocalError("there is no accessor", hint=f"`secretd token {verb} -accessor ACCESSOR`")
        return f"auth/token/{verb}-accessor", {"accessor": given}
    return f"auth/token/{verb}", {"token": take_secret(given, label="Token", hint=_HINT)}
