"""``secretd policy …``: ACL policies, kept byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from secretd.cli.base import VerbGroup, pass_session
from secretd.cli.data import show_keys
from secretd.cli.errors import LocalError
from secretd.cli.output import View
from secretd.cli.values import read_text

if TYPE_CHECKING:
    from secretd.cli.session import Session

_PATH = "sys/policies/acl"


@click.group("policy", cls=VerbGroup, examples="secretd policy write app app.hcl")
def policy() -> None:
    """Write, read, list and delete ACL policies."""


@policy.command("read", examples="secretd policy read app > app.hcl")
@click.argument("name")
@pass_session
def read(session: Session, name: str) -> None:
    """Print a policy's text, byte for byte."""
    answer = session.send("GET", f"{_PATH}/{name}")
    text = str(answer.data.get("policy") or "")
    session.show(answer, View(document=answer.data, fields=answer.data, blocks=[text], raw=answer.raw))


@policy.command(
    "write",
    examples="""
secretd policy write app app.hcl
printf 'path "secret/data/app" { capabilities = ["read"] }' | secretd policy write app -
""",
)
@click.argument("name")
@click.argument("source", metavar="FILE|-")
@pass_session
def write(session: Session, name: str, source: str) -> None:
    """Write a policy in HCL or JSON from a file or from standard input."""
    text = read_text(source)
    if not text.strip():
        raise LocalError("the policy is empty", hint="an empty policy grants nothing; delete it instead")
    answer = session.send("PUT", f"{_PATH}/{name}", body={"policy": text})
    session.show_done(answer, f"Success! Wrote policy: {name}")


@policy.command("list", examples="secretd policy list")
@pass_session
def list_(session: Session) -> None:
    """List the policies by name."""
    show_keys(session, session.send("LIST", _PATH), path=_PATH)


@policy.command("delete", examples="secretd policy delete app")
@click.argument("name")
@pass_session
def delete(session: Session, name: str) -> None:
    """Delete a policy: tokens that carry it lose its rights at once."""
    answer = session.send("DELETE", f"{_PATH}/{name}")
    session.show_done(answer, f"Success! Deleted policy (if it existed): {name}")
