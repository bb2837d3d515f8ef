"""``secretd operator …``: initialise, unseal, seal, rotate, and make a static seal's key."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secretd.cli.base import VerbGroup, pass_session
from secretd.cli.errors import EXIT_SERVER, LocalError
from secretd.cli.output import Table, View, pairs_table
from secretd.cli.session import Session, take_secret
from secretd.cli.status import show_seal

if TYPE_CHECKING:
    from secretd.client.http import Answer

_KEY_BYTES = 32  # AES-256
_KEEP_THEM = """\
Give each key to another person now: nobody can show them again, and without enough of them
everything stored is lost. Use the root token to set up logins, then revoke it."""


@click.group("operator", cls=VerbGroup, examples="secretd operator init\nsecretd operator unseal")
def operator() -> None:
    """Initialise, unseal, seal and rotate."""


@operator.command(
    "init",
    examples="""
secretd operator init
secretd operator init -key-shares=5 -key-threshold=3
secretd operator init -recovery-shares=5 -recovery-threshold=3      with a static seal
secretd operator init -format=json > init.json                      keep it where nobody else reads
""",
)
@click.option("--key-shares", "-n", type=int, metavar="N", help="Parts of the unseal key; 5 if not given.")
@click.option("--key-threshold", "-t", type=int, metavar="N", help="Parts that unseal; 3 if not given.")
@click.option("--recovery-shares", type=int, metavar="N", help="With a static seal: recovery key parts.")
@click.option("--recovery-threshold", type=int, metavar="N", help="With a static seal: parts needed.")
@click.option("--status", is_flag=True, help="Only say whether it is initialised; exit code 2 if not.")
@pass_session
def init(session: Session, *, status: bool, **given: int | None) -> None:
    """Initialise an empty server. The keys and the root token are shown once and stored nowhere."""
    if status:
        _show_init_status(session)
        return
    answer = session.send("PUT", "sys/init", body=_init_body(session, given))
    view = View(
        document=answer.body, fields=_init_fields(answer), blocks=_init_blocks(answer), raw=answer.raw
    )
    session.show(answer, view)


def _show_init_status(session: Session) -> None:
    answer = session.send("GET", "sys/init")
    is_done = bool(answer.body.get("initialized"))
    sentence = "The server is initialised" if is_done else "The server is not initialised"
    session.show(answer, View(document=answer.body, fields=answer.body, blocks=[sentence], raw=answer.raw))
    if not is_done:
        raise click.exceptions.Exit(EXIT_SERVER)


def _init_body(session: Session, given: dict[str, int | None]) -> dict[str, int]:
    seal = session.look("GET", "sys/seal-status").body
    has_recovery = bool(seal.get("recovery_seal"))
    wanted = (
        {"recovery_shares": 5, "recovery_threshold": 3}
        if has_recovery
        else {"secret_shares": 5, "secret_threshold": 3}
    )
    names = {
        "key_shares": "secret_shares",
        "key_threshold": "secret_threshold",
        "recovery_shares": "recovery_shares",
        "recovery_threshold": "recovery_threshold",
    }
    return wanted | {names[key]: number for key, number in given.items() if number is not None}


def _init_fields(answer: Answer) -> dict[str, Any]:
    body = answer.body
    names = ("root_token", "keys", "keys_base64", "recovery_keys", "recovery_keys_base64")
    return {name: body[name] for name in names if body.get(name)}


def _init_blocks(answer: Answer) -> list[Table | str]:
    body = answer.body
    rows = [(f"Unseal Key {n}", key) for n, key in enumerate(body.get("keys_base64") or [], start=1)]
    rows += [
        (f"Recovery Key {n}", key) for n, key in enumerate(body.get("recovery_keys_base64") or [], start=1)
    ]
    rows.append(("Initial Root Token", body.get("root_token")))
    return [
        pairs_table(dict(rows)),
        _KEEP_THEM,
    ]


@operator.command(
    "unseal",
    examples="secretd operator unseal\nsecretd operator unseal -reset\nsecretd operator unseal - < share",
)
@click.argument("key", required=False, metavar="[KEY|-]")
@click.option("--reset", is_flag=True, help="Forget the parts given so far.")
@pass_session
def unseal(session: Session, key: str | None, *, reset: bool) -> None:
    """Give one part of the unseal key, asked for without echo; repeat until unsealed."""
    if reset:
        body: dict[str, Any] = {"reset": True}
    else:
        share = take_secret(key, label="Unseal Key", hint="pipe it in: `secretd operator unseal -`")
        body = {"key": share}
    show_seal(session, session.send("PUT", "sys/unseal", body=body, private=True))


@operator.command("seal", examples="secretd operator seal")
@pass_session
def seal(session: Session) -> None:
    """Seal the server: it forgets the root key and answers nothing until it is unsealed."""
    session.show_done(session.send("PUT", "sys/seal"), "Success! The server is sealed")


@operator.command("rotate", examples="secretd operator rotate")
@pass_session
def rotate(session: Session) -> None:
    """Add a term to the keyring: new entries use it, old ones stay readable."""
    session.show_done(session.send("PUT", "sys/rotate"), "Success! Rotated the keyring")


@operator.command("key-status", examples="secretd operator key-status")
@pass_session
def key_status(session: Session) -> None:
    """Show the keyring's current term, since when, and how much it has encrypted."""
    answer = session.send("GET", "sys/key-status")
    fields = answer.data or answer.body
    labels = {"term": "Key Term", "install_time": "Install Time", "encryptions": "Encryption Count"}
    shown = {label: fields[key] for key, label in labels.items() if key in fields}
    view = View(document=fields, fields=fields, blocks=[pairs_table(shown)], raw=answer.raw)
    session.show(answer, view)


@operator.command(
    "keygen",
    examples="secretd operator keygen /etc/secretd/seal.key\nsecretd operator keygen -encoding=hex -",
)
@click.argument("file", metavar="FILE|-")
@click.option("--encoding", type=click.Choice(["base64", "hex", "raw"]), default="base64", show_default=True)
def keygen(file: str, encoding: str) -> None:
    """Make a static seal's key in a new file that only you can read. No server is asked."""
    key = secrets.token_bytes(_KEY_BYTES)
    encoded = {"base64": base64.b64encode(key) + b"\n", "hex": key.hex().encode() + b"\n", "raw": key}
    content = encoded[encoding]
    if file == "-":
        sys.stdout.buffer.write(content)
        return
    _write_new(Path(file), content)
    click.echo(f"Success! Wrote a new seal key to: {file}")
    click.echo("Back it up apart from the database: without it everything stored is lost.", err=True)


def _write_new(path: Path, content: bytes) -> None:
    """Create the file 0600; an existing one may be somebody's only key, so it is never replaced."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise LocalError(
            f"{path} is already there", hint="name a new file, or move the old one away"
        ) from None
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
