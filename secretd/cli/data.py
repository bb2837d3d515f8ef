"""The plain verbs on any path: read, write, patch, list, delete, unwrap and path-help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from secretd.cli.base import Verb, pass_session
from secretd.cli.errors import LocalError, ServerSaidNoError
from secretd.cli.output import View
from secretd.cli.session import Session, keys_table, take_secret
from secretd.cli.values import parse_values
from secretd.sdk.fields import Sensitive

if TYPE_CHECKING:
    from secretd.client.http import Answer


def make_query(params: tuple[str, ...]) -> dict[str, str | list[str]]:
    """Return ``key=value`` arguments as a query; lists repeat their key."""
    return {
        key: [str(item) for item in value] if isinstance(value, list) else str(value)
        for key, value in parse_values(params).items()
    }


def show_keys(session: Session, answer: Answer, *, path: str) -> None:
    """Show a LIST; names and nothing else in JSON, as Vault does."""
    keys = answer.data.get("keys")
    if answer.body.get("wrap_info"):
        session.show(answer)
    elif not isinstance(keys, list) or not keys:
        raise ServerSaidNoError(f"nothing is under {path}")
    else:
        view = View(document=keys, fields=answer.data, blocks=[keys_table(keys)], raw=answer.raw)
        session.show(answer, view)


@click.command(
    "read",
    cls=Verb,
    examples="""
secretd read database/creds/app
secretd read -field=password database/creds/app
secretd read --format json sys/mounts
secretd read secret/data/app version=2
""",
)
@click.argument("path")
@click.argument("params", nargs=-1, metavar="[KEY=VALUE]...")
@pass_session
def read(session: Session, path: str, params: tuple[str, ...]) -> None:
    """Read what is at a path. Reading a role under creds/ leases a new login."""
    session.show(session.send("GET", path, query=make_query(params)), done=f"Success! {path} has no data")


@click.command(
    "write",
    cls=Verb,
    examples="""
secretd write database/roles/app db_name=main creation_statements=@create.sql default_ttl=1h
printf %s "$PASSWORD" | secretd write auth/userpass/users/ann password=- policies=app
secretd write sys/tools/random -                     (a JSON object from standard input)
secretd write database/config/main @config.json
secretd write -force auth/approle/role/app/secret-id
""",
)
@click.argument("path")
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--force", "-f", is_flag=True, help="Write without any data.")
@pass_session
def write(session: Session, path: str, values: tuple[str, ...], *, force: bool) -> None:
    """Write data to a path: KEY=VALUE, KEY=@FILE, KEY=-, @FILE.json or -."""
    if not values and not force:
        raise LocalError("there is nothing to write", hint=f"add data or say: secretd write -force {path}")
    answer = session.send("PUT", path, body=parse_values(values))
    session.show(answer, done=f"Success! Data written to: {path}")


@click.command("patch", cls=Verb, examples="secretd patch secret/data/app @change.json")
@click.argument("path")
@click.argument("values", nargs=-1, required=True, metavar="KEY=VALUE...")
@pass_session
def patch(session: Session, path: str, values: tuple[str, ...]) -> None:
    """Change some of the data at a path by a JSON merge patch."""
    answer = session.send("PATCH", path, body=parse_values(values))
    session.show(answer, done=f"Success! Data patched at: {path}")


@click.command(
    "list", cls=Verb, examples="secretd list database/roles\nsecretd list -format=json secret/metadata/"
)
@click.argument("path")
@pass_session
def list_(session: Session, path: str) -> None:
    """List the names under a path."""
    show_keys(session, session.send("LIST", path), path=path)


@click.command("delete", cls=Verb, examples="secretd delete database/roles/app")
@click.argument("path")
@click.argument("params", nargs=-1, metavar="[KEY=VALUE]...")
@pass_session
def delete(session: Session, path: str, params: tuple[str, ...]) -> None:
    """Delete what is at a path; what is not there is deleted, too."""
    answer = session.send("DELETE", path, query=make_query(params))
    session.show(answer, done=f"Success! Data deleted (if it existed) at: {path}")


@click.command(
    "unwrap",
    cls=Verb,
    examples="""
secretd read -wrap-ttl=5m -field=wrapping_token database/creds/app     the other side
printf %s "$WRAPPING_TOKEN" | secretd unwrap -
secretd unwrap -field=password                                         asked for without echo
""",
)
@click.argument("wrapping_token", required=False)
@pass_session
def unwrap(session: Session, wrapping_token: str | None) -> None:
    """Open a wrapped answer. It works once: a second opener means that somebody else looked."""
    given = take_secret(wrapping_token, label="Wrapping token", hint="pipe it in: `secretd unwrap -`")
    # The wrapping token is the caller's token: then it needs no second one and no policy.
    session.act_as(Sensitive(given))
    session.show(session.send("PUT", "sys/wrapping/unwrap"), done="Success! The wrapped answer was empty")


@click.command("path-help", cls=Verb, examples="secretd path-help database/roles/app")
@click.argument("path")
@pass_session
def path_help(session: Session, path: str) -> None:
    """Explain a path of the API: what it is for and what it takes."""
    answer = session.send("GET", path, query={"help": "1"})
    source = answer.body if "help" in answer.body else answer.data
    text = str(source.get("help") or "").rstrip()
    session.show(answer, View(document=source, fields=source, blocks=[text], raw=answer.raw))
