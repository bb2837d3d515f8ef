"""``secretd secrets …`` and ``secretd auth …``: the same verbs on two tables of mounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from secretd.cli.base import VerbGroup, pass_session
from secretd.cli.errors import LocalError, ServerSaidNoError
from secretd.cli.output import Table, show_duration
from secretd.cli.values import parse_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretd.cli.session import Session

_MOVE_POLL = 0.2  # seconds between two looks at a remount
_MOVE_LOOKS = 600
_TUNED = (
    "default_lease_ttl",
    "max_lease_ttl",
    "listing_visibility",
    "audit_non_hmac_request_keys",
    "audit_non_hmac_response_keys",
    "passthrough_request_headers",
    "allowed_response_headers",
    "token_type",
    "plugin_version",
)


@dataclass(frozen=True)
class _Kind:
    """What differs: the API's table, the prefix of remounts and the words of the help."""

    name: str
    table: str
    prefix: str
    noun: str
    example: str


_SECRETS = _Kind("secrets", "sys/mounts", "", "secret engine", "kv")
_AUTH = _Kind("auth", "sys/auth", "auth/", "auth method", "userpass")


def _settings(function: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--description", metavar="TEXT", help="For people."),
        click.option("--default-lease-ttl", metavar="DURATION", help="TTL where a role names none."),
        click.option("--max-lease-ttl", metavar="DURATION", help="No lease lives longer."),
        click.option("--listing-visibility", metavar="WORD", help="unauth shows it before login; or hidden."),
        click.option(
            "--audit-non-hmac-request-keys", multiple=True, metavar="KEY", help="In clear in the audit."
        ),
        click.option(
            "--audit-non-hmac-response-keys", multiple=True, metavar="KEY", help="The same, of answers."
        ),
        click.option("--passthrough-request-headers", multiple=True, metavar="NAME", help="May be repeated."),
        click.option("--allowed-response-headers", multiple=True, metavar="NAME", help="May be repeated."),
        click.option("--token-type", metavar="WORD", help="Tokens of an auth method: service or batch."),
        click.option("--plugin-version", metavar="VERSION", help="Version of an installed plugin."),
        click.option(
            "--options", multiple=True, metavar="KEY=VALUE", help="The engine's own; may be repeated."
        ),
        click.option("--version", metavar="N", help="Short for -options=version=N, for kv."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _config(given: dict[str, Any]) -> dict[str, Any]:
    found = {key: given[key] for key in _TUNED if given[key]}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def _options(given: dict[str, Any]) -> dict[str, str]:
    pairs = parse_pairs(given["options"], what="--options")
    return pairs | ({"version": given["version"]} if given["version"] else {})


def _make_group(kind: _Kind) -> VerbGroup:
    @click.group(
        kind.name,
        cls=VerbGroup,
        help=f"Enable, disable, list, tune and move {kind.noun}s.",
        examples=f"secretd {kind.name} enable {kind.example}\nsecretd {kind.name} list",
    )
    def group() -> None:
        pass

    if not isinstance(group, VerbGroup):
        raise TypeError("click made another kind of group")
    _add_enable(group, kind)
    _add_disable(group, kind)
    _add_list(group, kind)
    _add_tune(group, kind)
    _add_move(group, kind)
    return group


def _add_enable(group: VerbGroup, kind: _Kind) -> None:
    example = (
        f"secretd {kind.name} enable {kind.example}\nsecretd {kind.name} enable -path=team {kind.example}"
    )

    @group.command(
        "enable",
        help=f"Enable a {kind.noun} at a path; its type is the path if none is given.",
        examples=example,
    )
    @click.argument("type_", metavar="TYPE")
    @click.option("--path", metavar="PATH", help="Where; else the type's name.")
    @click.option("--local", is_flag=True, help="Not replicated; accepted for Vault's sake.")
    @click.option("--seal-wrap", is_flag=True, help="Accepted for Vault's sake.")
    @_settings
    @pass_session
    def enable(
        session: Session, type_: str, *, path: str | None, local: bool, seal_wrap: bool, **given: Any
    ) -> None:
        # `kv-v2` is Vault's nickname of kv with version 2.
        engine, options = ("kv", {"version": "2"}) if type_ == "kv-v2" else (type_, {})
        where = (path or type_).strip("/")
        body = {
            "type": engine,
            "description": given["description"] or "",
            "config": _config(given),
            "options": options | _options(given) or None,
            "local": local,
            "seal_wrap": seal_wrap,
        }
        answer = session.send("POST", f"{kind.table}/{where}", body=body)
        session.show_done(answer, f"Success! Enabled the {engine} {kind.noun} at: {where}/")


def _add_disable(group: VerbGroup, kind: _Kind) -> None:
    @group.command(
        "disable",
        help=f"Disable the {kind.noun} at a path: its leases are revoked, its data is deleted.",
        examples=f"secretd {kind.name} disable {kind.example}/",
    )
    @click.argument("path")
    @pass_session
    def disable(session: Session, path: str) -> None:
        where = path.strip("/")
        answer = session.send("DELETE", f"{kind.table}/{where}")
        session.show_done(answer, f"Success! Disabled the {kind.noun} (if it existed) at: {where}/")


def _add_list(group: VerbGroup, kind: _Kind) -> None:
    @group.command(
        "list",
        help=f"List the {kind.noun}s.",
        examples=f"secretd {kind.name} list\nsecretd {kind.name} list -detailed",
    )
    @click.option("--detailed", is_flag=True, help="With TTLs, options and UUIDs.")
    @pass_session
    def list_(session: Session, *, detailed: bool) -> None:
        answer = session.send("GET", kind.table)
        mounts = {path: mount for path, mount in sorted(answer.data.items()) if isinstance(mount, dict)}
        session.show_rows(answer, mounts, _mounts_table(mounts, detailed=detailed))


def _mounts_table(mounts: dict[str, dict[str, Any]], *, detailed: bool) -> Table:
    headers = ["Path", "Type", "Accessor", "Description"]
    rows = [
        [path, str(mount.get("type")), str(mount.get("accessor")), str(mount.get("description") or "n/a")]
        for path, mount in mounts.items()
    ]
    if detailed:
        headers += ["Default TTL", "Max TTL", "Options", "UUID"]
        for row, mount in zip(rows, mounts.values(), strict=True):
            config = mount.get("config") or {}
            options = ",".join(
                f"{key}={value}" for key, value in sorted((mount.get("options") or {}).items())
            )
            row += [_ttl(config.get("default_lease_ttl")), _ttl(config.get("max_lease_ttl"))]
            row += [options or "n/a", str(mount.get("uuid") or "n/a")]
    return Table(headers, rows)


def _ttl(value: object) -> str:
    return show_duration(value) if isinstance(value, int) and value else "system"


def _add_tune(group: VerbGroup, kind: _Kind) -> None:
    @group.command(
        "tune",
        help=f"Change settings of an enabled {kind.noun}.",
        examples=f"secretd {kind.name} tune -default-lease-ttl=1h -max-lease-ttl=24h {kind.example}/",
    )
    @click.argument("path")
    @_settings
    @pass_session
    def tune(session: Session, path: str, **given: Any) -> None:
        body = _config(given)
        if given["description"] is not None:
            body["description"] = given["description"]
        if options := _options(given):
            body["options"] = options
        if not body:
            raise LocalError("there is nothing to tune", hint=f"see `secretd {kind.name} tune --help`")
        where = path.strip("/")
        # The auth table has its tune path, too, but this one needs no sudo on sys/auth.
        answer = session.send("POST", f"sys/mounts/{kind.prefix}{where}/tune", body=body)
        session.show_done(answer, f"Success! Tuned the {kind.noun} at: {where}/")


def _add_move(group: VerbGroup, kind: _Kind) -> None:
    @group.command(
        "move",
        help=f"Move a {kind.noun} to another path; its leases are revoked.",
        examples=f"secretd {kind.name} move {kind.example}/ team/{kind.example}/",
    )
    @click.argument("source")
    @click.argument("target")
    @pass_session
    def move(session: Session, source: str, target: str) -> None:
        body = {"from": kind.prefix + source.strip("/"), "to": kind.prefix + target.strip("/")}
        answer = session.send("POST", "sys/remount", body=body)
        _await_move(session, str(answer.data.get("migration_id") or ""))
        session.show_done(
            answer, f"Success! Moved the {kind.noun} {source.strip('/')}/ to: {target.strip('/')}/"
        )


def _await_move(session: Session, migration_id: str) -> None:
    """Wait for servers that move in the background (secretd has moved when it answers)."""
    import time  # only here

    for look in range(_MOVE_LOOKS if migration_id else 0):
        info = session.look("GET", f"sys/remount/status/{migration_id}").data.get("migration_info") or {}
        if info.get("status") == "success":
            return
        if info.get("status") == "failure":
            break
        if look == 0:
            session.tell("moving …")
        time.sleep(_MOVE_POLL)
    if migration_id:
        raise ServerSaidNoError(
            "the move did not succeed", hint=f"`secretd read sys/remount/status/{migration_id}` says more"
        )


secrets_group = _make_group(_SECRETS)
auth_group = _make_group(_AUTH)
