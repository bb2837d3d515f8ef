"""``secretd status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from secretd.cli.base import Verb, pass_session
from secretd.cli.errors import ServerSaidNoError
from secretd.cli.output import Table, View, pairs_table

if TYPE_CHECKING:
    from secretd.cli.session import Session
    from secretd.client.http import Answer

_SHOWN = {
    "Seal Type": "type",
    "Recovery Seal": "recovery_seal",
    "Initialized": "initialized",
    "Sealed": "sealed",
    "Total Shares": "n",
    "Threshold": "t",
    "Unseal Progress": "progress",
    "Unseal Nonce": "nonce",
    "Version": "version",
    "Build Date": "build_date",
    "Storage Type": "storage_type",
    "Cluster Name": "cluster_name",
    "Cluster ID": "cluster_id",
}
_ONLY_WHILE_SEALED = frozenset({"progress", "nonce"})


def seal_table(answer: Answer) -> Table:
    """Make the table of a seal status, which is bare: no envelope."""
    body = answer.body
    rows = {
        label: body[key]
        for label, key in _SHOWN.items()
        if key in body and (body.get("sealed") or key not in _ONLY_WHILE_SEALED)
    }
    return pairs_table(rows)


def show_seal(session: Session, answer: Answer) -> None:
    """Show a seal status, bare as it came."""
    view = View(document=answer.body, fields=answer.body, blocks=[seal_table(answer)], raw=answer.raw)
    session.show(answer, view)


EXAMPLES = """
secretd status
secretd status --format json
secretd status -field sealed
"""


@click.command("status", cls=Verb, examples=EXAMPLES)
@pass_session
def status(session: Session) -> None:
    """Show the seal status. Exit code 0: ready; 2: sealed, not initialised or out of reach."""
    answer = session.send("GET", "sys/seal-status")
    show_seal(session, answer)
    if not answer.body.get("initialized", True):
        raise ServerSaidNoError("the server is not initialised", hint="`secretd operator init`")
    if answer.body.get("sealed"):
        raise ServerSaidNoError("the server is sealed", hint="`secretd operator unseal`")
