"""Who holds what: ``secretd lease list`` with filters, ``show``, ``top``, ``retry`` and ``force-drop``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from secretd.cli.base import Verb, pass_session
from secretd.cli.data import show_keys
from secretd.cli.errors import LocalError
from secretd.cli.output import Table, View, draw, pairs_table, show_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secretd.cli.session import Session
    from secretd.client.http import Answer

_PATH = "sys/leases"
_PAGE = 1000
_FILTERS = ("mount", "target", "role", "holder", "user", "state")
_HEADERS = ("Lease", "State", "Role", "Target", "Holder", "User", "Left", "Error")


@click.command(
    "list",
    cls=Verb,
    examples="""
secretd lease list database/creds/app
secretd lease list --holder=userpass-ann --state=active
secretd lease list --target=db.example.org:5432/shop --expiring-in=10m -format=json
secretd lease list --failing
""",
)
@click.argument("prefix", default="")
@click.option("--target", metavar="TARGET", help="On this target, as `lease show` names it.")
@click.option("--role", metavar="ROLE", help="Of this role.")
@click.option("--mount", metavar="PATH", help="Of this mount.")
@click.option("--holder", metavar="WHO", help="Of this display name, entity id or token accessor.")
@click.option("--user", metavar="NAME", help="Of this login on the target.")
@click.option("--state", metavar="STATE", help="pending, active, revoking, revoked or abandoned.")
@click.option("--expiring-in", metavar="DURATION", help="That end within this time unless renewed.")
@click.option("--failing", is_flag=True, help="Whose end failed, and is tried again.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), default=_PAGE, help="At most so many.")
@click.option("--after", metavar="LEASE", help="Go on behind this lease.")
@pass_session
def list_(session: Session, prefix: str, *, limit: int, **asked: str | bool | None) -> None:
    """List the parts of lease ids under a prefix; with filters, who holds what."""
    query = _query(asked)
    where = prefix.strip("/")
    if not query and limit == _PAGE:
        path = f"{_PATH}/lookup/{where}/" if where else f"{_PATH}/lookup/"
        show_keys(session, session.send("LIST", path), path=prefix or "the server")
        return
    query |= {"prefix": where} if where else {}
    leases: list[dict[str, Any]] = []
    for answer in _pages(session, query, limit):
        leases += _leases(answer.data.get("leases"))
    follow = answer.data.get("next")
    if follow and session.flags.format == "table":
        session.tell(f"There may be more: --after={follow}")
    blocks: list[Table | str] = [_table(leases)] if leases else ["No lease is like that"]
    session.show(answer, View(document=leases, fields={"leases": leases}, blocks=blocks))


def _query(asked: dict[str, str | bool | None]) -> dict[str, str | list[str]]:
    """The filters that were given, as the server names them."""
    return {name: "true" if value is True else str(value) for name, value in asked.items() if value}


def _pages(session: Session, query: dict[str, str | list[str]], limit: int) -> Iterator[Answer]:
    """Answers until there are ``limit`` leases, or no more."""
    left = limit
    while True:
        size = min(left, _PAGE)
        answer = session.send("GET", f"{_PATH}/view", query=query | {"limit": str(size)})
        yield answer
        left -= size
        follow = answer.data.get("next")
        if not follow or left <= 0:
            return
        query = query | {"after": str(follow)}


@click.command(
    "show",
    cls=Verb,
    examples="""
secretd lease show database/creds/app/LEASE
secretd lease show v-userpass-ann-app-x2Kd…       from a login on the target to its lease
""",
)
@click.argument("which", metavar="LEASE|DB-USER")
@pass_session
def show(session: Session, which: str) -> None:
    """Show who holds a lease, on what, since when, and what became of its end."""
    answer = session.send("GET", f"{_PATH}/show/{which.strip('/')}")
    shown = dict(answer.data)
    for name, value in (shown.pop("receipt", None) or {}).items():
        shown[f"receipt_{name}"] = value
    others = shown.pop("other_leases", None)
    shown |= {"other_leases": others} if others else {}
    blocks = [pairs_table(shown)]
    session.show(
        answer, View(document=answer.data, fields=answer.data | shown, blocks=blocks, raw=answer.raw)
    )


@click.command("top", cls=Verb, examples="secretd lease top\nsecretd lease top -format=json")
@click.option("--limit", metavar="N", type=click.IntRange(1, _PAGE), default=20, help="Name so many leases.")
@click.option(
    "--interval", metavar="SECONDS", type=click.FloatRange(min=0.2), default=2.0, help="Between two looks."
)
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after so many looks.")
@pass_session
def top(session: Session, *, limit: int, interval: float, count: int | None) -> None:
    """Watch the leases that end next, overdue ones first. In a pipe or as JSON: one look."""
    look = _look(session, limit)
    if not sys.stdout.isatty() or session.flags.format != "table" or session.flags.field is not None:
        session.show(look, _top_view(look))
        return
    _watch(session, look, limit=limit, interval=interval, count=count)


def _look(session: Session, limit: int) -> Answer:
    return session.send("GET", f"{_PATH}/top", query={"limit": str(limit)})


def _watch(session: Session, look: Answer, *, limit: int, interval: float, count: int | None) -> None:
    """Draw again and again in place until it is enough, or ctrl-C: which is how a watch ends."""
    import threading  # a watch alone needs these

    from rich.live import Live

    stop, looks = threading.Event(), 1
    try:
        with Live(draw(_top_blocks(look)), auto_refresh=False, screen=False) as live:
            live.refresh()
            while count is None or looks < count:
                stop.wait(interval)
                look, looks = _look(session, limit), looks + 1
                live.update(draw(_top_blocks(look)), refresh=True)
    except KeyboardInterrupt:
        return


def _top_view(look: Answer) -> View:
    return View(document=look.data, fields=look.data, blocks=_top_blocks(look), raw=look.raw)


def _top_blocks(look: Answer) -> list[Table | str]:
    states = look.data.get("states") or {}
    counts = ", ".join(f"{states.get(name, 0)} {name}" for name in ("pending", "active", "revoking"))
    age = show_duration(int(look.data.get("oldest_unrevoked_age") or 0))
    line = f"{counts}; {look.data.get('failing', 0)} failing, the oldest end unproved for {age}"
    leases = _leases(look.data.get("next"))
    return [line, _table(leases)] if leases else [line]


@click.command(
    "retry",
    cls=Verb,
    examples="secretd lease retry database/creds/app/LEASE\nsecretd lease retry -prefix database/",
)
@click.argument("which", metavar="LEASE|PREFIX")
@click.option("--prefix", is_flag=True, help="All whose end failed under the prefix.")
@pass_session
def retry(session: Session, which: str, *, prefix: bool) -> None:
    """Try to end a lease again now, not after its back-off."""
    body = {"prefix": which} if prefix else {"lease_id": which}
    answer = session.send("PUT", f"{_PATH}/retry", body=body)
    session.show_done(answer, f"Trying again: {answer.data.get('retried', 0)}")


@click.command(
    "force-drop",
    cls=Verb,
    examples="secretd lease force-drop --reason='host was scrapped' database/creds/app/LEASE",
)
@click.argument("lease_id", metavar="LEASE")
@click.option("--reason", metavar="TEXT", help="Why; kept with the lease, in clear.")
@pass_session
def force_drop(session: Session, lease_id: str, *, reason: str | None) -> None:
    """Give up a lease whose end fails. Its login may live on at the target."""
    if not reason or not reason.strip():
        raise LocalError("a reason is wanted", hint=f"secretd lease force-drop --reason=WHY {lease_id}")
    session.show(
        session.send("PUT", f"{_PATH}/force-drop", body={"lease_id": lease_id, "reason": reason.strip()})
    )


def _leases(found: object) -> list[dict[str, Any]]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _table(leases: list[dict[str, Any]]) -> Table:
    return Table(_HEADERS, [_row(lease) for lease in leases])


def _row(lease: dict[str, Any]) -> list[str]:
    left = show_duration(int(lease.get("ttl") or 0))
    failed = lease.get("attempts") or 0
    error = f"{lease.get('last_error') or 'n/a'} ({failed}×)" if failed else "n/a"
    names = ("lease_id", "state", "role", "target", "display_name", "account_name")
    return [*(str(lease.get(name) or "n/a") for name in names), left, error]
