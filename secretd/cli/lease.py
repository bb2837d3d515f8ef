"""``secretd lease …``: promises with an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from secretd.cli.base import VerbGroup, pass_session
from secretd.cli.errors import LocalError
from secretd.cli.output import Table, View, pairs_table

if TYPE_CHECKING:
    from secretd.cli.session import Session

_PATH = "sys/leases"


_VIEWS = {
    "list": ("secretd.cli.lease_views:list_", "List leases by path, or by who holds what."),
    "show": ("secretd.cli.lease_views:show", "Show all about a lease, by its id or its login's name."),
    "top": ("secretd.cli.lease_views:top", "Watch the leases that end next."),
    "retry": ("secretd.cli.lease_views:retry", "Try a failed end again now."),
    "force-drop": ("secretd.cli.lease_views:force_drop", "Give up a lease whose end fails."),
}


@click.group(
    "lease",
    cls=VerbGroup,
    lazy=_VIEWS,
    examples="secretd lease list database/creds/app\nsecretd lease show DB-USER\nsecretd lease count",
)
def lease() -> None:
    """Look up, renew, revoke, list and count leases."""


@lease.command("lookup", examples="secretd lease lookup database/creds/app/LEASE")
@click.argument("lease_id")
@pass_session
def lookup(session: Session, lease_id: str) -> None:
    """Show when a lease was issued, when it ends and whether it can be renewed."""
    session.show(session.send("PUT", f"{_PATH}/lookup", body={"lease_id": lease_id}))


@lease.command("renew", examples="secretd lease renew -increment=1h database/creds/app/LEASE")
@click.argument("lease_id")
@click.option("--increment", "-i", metavar="DURATION", help="Ask for this much more time from now.")
@pass_session
def renew(session: Session, lease_id: str, increment: str | None) -> None:
    """Renew a lease; the answer's duration is what was granted."""
    body = {"lease_id": lease_id} | ({"increment": increment} if increment else {})
    session.show(session.send("PUT", f"{_PATH}/renew", body=body))


@lease.command(
    "revoke",
    examples="""
secretd lease revoke database/creds/app/LEASE
secretd lease revoke -prefix -sync database/creds/app
secretd lease revoke -prefix -force database/creds/app        forget leases that cannot be revoked
secretd lease revoke --after=30m database/creds/app/LEASE     no renewal passes that end
""",
)
@click.argument("lease_id", metavar="LEASE|PREFIX")
@click.option("--prefix", is_flag=True, help="Revoke all leases under the prefix.")
@click.option("--force", "-f", is_flag=True, help="With -prefix: give up where the target refuses.")
@click.option("--sync", is_flag=True, help="Return when it is done, not when it is queued.")
@click.option("--after", metavar="DURATION", help="Not now: at the latest after this time.")
@click.option("--at", metavar="TIME", help="Not now: at the latest then, such as 2026-11-23T10:00:00Z.")
@pass_session
def revoke(
    session: Session,
    lease_id: str,
    *,
    prefix: bool,
    force: bool,
    sync: bool,
    after: str | None,
    at: str | None,
) -> None:
    """End a lease now: the login is refused and removed. Or plan its end."""
    if after or at:
        _plan(session, lease_id, after=after, at=at, is_simple=not (prefix or force or sync))
        return
    if force and not prefix:
        raise LocalError("-force is for -prefix only", hint=f"secretd lease revoke -force -prefix {lease_id}")
    if force:
        session.tell("Warning: logins that the target does not give up stay there, unknown to the server")
    if prefix:
        where = lease_id.strip("/")
        path = f"{_PATH}/revoke-{'force' if force else 'prefix'}/{where}"
        what = f"the leases under: {lease_id}"
    else:
        path, what = f"{_PATH}/revoke", f"the lease: {lease_id}"
    body = {"sync": sync} if prefix else {"lease_id": lease_id, "sync": sync}
    # The words differ on purpose: without -sync the login may live for another moment, by force for ever.
    verb = "Abandoned" if force else "Revoked" if sync else "Queued revocation of"
    session.show_done(session.send("PUT", path, body=body), f"Success! {verb} {what}")


def _plan(session: Session, lease_id: str, *, after: str | None, at: str | None, is_simple: bool) -> None:
    if not is_simple or (after and at):
        raise LocalError("an end is planned for one lease, by --after or by --at, without other flags")
    when = {"after": after} if after else {"at": at}
    session.show(session.send("PUT", f"{_PATH}/revoke", body={"lease_id": lease_id} | when))


@lease.command("count", examples="secretd lease count\nsecretd lease count -type=irrevocable")
@click.option("--type", "type_", metavar="WORD", help="irrevocable: only those that cannot be revoked.")
@pass_session
def count(session: Session, type_: str | None) -> None:
    """Count the leases by mount."""
    answer = session.send("GET", f"{_PATH}/count", query={"type": type_} if type_ else None)
    rows = [(str(path), str(number)) for path, number in sorted((answer.data.get("counts") or {}).items())]
    rows.append(("total", str(answer.data.get("lease_count", 0))))
    session.show(
        answer,
        View(
            document=answer.data,
            fields=answer.data,
            blocks=[Table(("Mount", "Leases"), rows)],
            raw=answer.raw,
        ),
    )


@lease.command("tidy", examples="secretd lease tidy")
@pass_session
def tidy(session: Session) -> None:
    """Remove what is already dead."""
    session.show(session.send("POST", f"{_PATH}/tidy"), done="Success! Tidied the leases")


@lease.command(
    "irrevocable", examples="secretd lease irrevocable\nsecretd lease irrevocable -limit=50 -format=json"
)
@click.option("--limit", metavar="N|none", help="At most this many.")
@pass_session
def irrevocable(session: Session, limit: str | None) -> None:
    """Show the leases that the server could not revoke, each with its reason."""
    query: dict[str, str | list[str]] = {"type": "irrevocable"}
    if limit:
        query["limit"] = limit
    answer = session.send("GET", _PATH, query=query)
    found = [item for item in answer.data.get("leases") or [] if isinstance(item, dict)]
    blocks: list[Table | str] = [_irrevocable_table(found)] if found else ["There are no irrevocable leases"]
    session.show(answer, View(document=answer.data, fields=answer.data, blocks=blocks, raw=answer.raw))


def _irrevocable_table(found: list[dict[str, Any]]) -> Table:
    if not found:
        return pairs_table({})
    rows = [
        [str(item.get("lease_id")), str(item.get("error") or item.get("reason") or "n/a")] for item in found
    ]
    return Table(("Lease", "Reason"), rows)
