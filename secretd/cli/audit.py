"""``secretd audit …``: devices on the server, and the check of a file that is here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from secretd.cli.base import VerbGroup, pass_session
from secretd.cli.output import Table, View
from secretd.cli.session import take_secret
from secretd.cli.values import parse_values

if TYPE_CHECKING:
    from secretd.cli.session import Session


@click.group("audit", cls=VerbGroup, examples="secretd audit list\nsecretd audit verify --help")
def audit() -> None:
    """Enable, disable and list audit devices; hash a value; verify an audit file."""


@audit.command(
    "enable", examples="secretd audit enable -path=second file file_path=/var/log/secretd/api/second.jsonl"
)
@click.argument("type_", metavar="TYPE")
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--path", metavar="PATH", help="The device's name; else its type.")
@click.option("--description", metavar="TEXT", default="", help="For people.")
@click.option("--local", is_flag=True, help="Accepted for Vault's sake.")
@pass_session
def enable(
    session: Session, type_: str, values: tuple[str, ...], *, path: str | None, description: str, local: bool
) -> None:
    """Enable an audit device. Files are confined to the server's audit_api_dir."""
    where = (path or type_).strip("/")
    options = {key: str(value) for key, value in parse_values(values).items()}
    body = {"type": type_, "description": description, "local": local, "options": options}
    answer = session.send("PUT", f"sys/audit/{where}", body=body)
    session.show_done(answer, f"Success! Enabled the {type_} audit device at: {where}/")


@audit.command("disable", examples="secretd audit disable second")
@click.argument("path")
@pass_session
def disable(session: Session, path: str) -> None:
    """Disable an audit device; entries already written stay."""
    where = path.strip("/")
    answer = session.send("DELETE", f"sys/audit/{where}")
    session.show_done(answer, f"Success! Disabled the audit device (if it existed) at: {where}/")


@audit.command("list", examples="secretd audit list -detailed")
@click.option("--detailed", is_flag=True, help="With each device's options.")
@pass_session
def list_(session: Session, *, detailed: bool) -> None:
    """List the audit devices."""
    answer = session.send("GET", "sys/audit")
    devices = {path: item for path, item in sorted(answer.data.items()) if isinstance(item, dict)}
    if not devices:
        sentence = "There are no audit devices"
        session.show(answer, View(document={}, blocks=[sentence], raw=answer.raw))
        return
    headers = ["Path", "Type", "Description"] + (["Options"] if detailed else [])
    rows = []
    for path, item in devices.items():
        row = [path, str(item.get("type")), str(item.get("description") or "n/a")]
        options = ",".join(f"{key}={value}" for key, value in sorted((item.get("options") or {}).items()))
        rows.append([*row, options or "n/a"] if detailed else row)
    session.show_rows(answer, devices, Table(headers, rows))


@audit.command(
    "hash",
    examples="""
secretd audit hash second                                  asks for the value without echo
printf %s "$VALUE" | secretd audit hash second -
""",
)
@click.argument("path")
@click.argument("value", required=False, metavar="[VALUE|-]")
@pass_session
def hash_(session: Session, path: str, value: str | None) -> None:
    """Print a value's hash as a device writes it, to search its file for."""
    given = take_secret(value, label="Value", hint="pipe it in: `secretd audit hash PATH -`")
    answer = session.send("PUT", f"sys/audit-hash/{path.strip('/')}", body={"input": given}, private=True)
    fields = answer.data
    session.show(
        answer,
        View(document=answer.body, fields=fields, blocks=[str(fields.get("hash", ""))], raw=answer.raw),
    )


@audit.command(
    "verify", examples="secretd audit verify -config=/etc/secretd/secretd.toml /var/log/secretd/audit.jsonl"
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--config", type=click.Path(path_type=Path), help="The server's configuration: storage and seal."
)
@click.option("--storage", metavar="URL", help="The server's database, where the heads are kept.")
def verify(file: Path, config: Path | None, storage: str | None) -> int:
    """Check an audit file for edits, drops, reordering and a cut tail. Exit code 2: it was tampered with."""
    # The chain key and the heads are the daemon's: this one verb runs its code, where the file lies.
    from secretd.server.audit_verify import main
    from secretd.server.options import AuditVerifyOptions, sensitive

    return int(main(AuditVerifyOptions(file=file, config=config, storage=sensitive(storage))))
