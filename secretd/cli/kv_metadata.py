"""``secretd kv metadata …``: limits, custom metadata and the list of versions of a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from secretd.cli.base import VerbGroup, pass_session
from secretd.cli.errors import LocalError
from secretd.cli.kv import locate, mount_option
from secretd.cli.output import Table, View, pairs_table
from secretd.cli.values import parse_pairs

if TYPE_CHECKING:
    from secretd.cli.session import Session
    from secretd.client.http import Answer

_OPTIONS = (
    click.option("--max-versions", type=int, metavar="N", help="Keep this many versions; 0: the mount's."),
    click.option("--cas-required/--no-cas-required", default=None, help="Refuse writes without -cas."),
    click.option(
        "--delete-version-after", metavar="DURATION", help="Delete each version after this; 0s: never."
    ),
    click.option("--custom-metadata", multiple=True, metavar="KEY=VALUE", help="Yours; may be repeated."),
)


@click.group("metadata", cls=VerbGroup, examples="secretd kv metadata get secret/app")
def metadata() -> None:
    """Read and set the metadata of secrets (engine version 2)."""


@metadata.command("get", examples="secretd kv metadata get secret/app")
@click.argument("path")
@mount_option
@pass_session
def get(session: Session, path: str, mount: str | None) -> None:
    """Show a secret's limits and versions."""
    place = locate(session, path, mount=mount)
    place.require_v2("metadata get")
    answer = session.send("GET", place.at("metadata"))
    session.show(answer, _view(answer, path=place.at("metadata")))


def _view(answer: Answer, *, path: str) -> View:
    found = dict(answer.data)
    versions = found.pop("versions", None) or {}
    blocks: list[Table | str] = [f"Path: {path}", pairs_table({key: found[key] for key in sorted(found)})]
    numbers = sorted(versions, key=int)
    blocks += [pairs_table(versions[number], title=f"Version {number}") for number in numbers]
    return View(document=answer.body, fields=answer.data, blocks=blocks, raw=answer.raw)


def _limits(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _body(
    *, max_versions: int | None, cas_required: bool | None, delete_version_after: str | None
) -> dict[str, Any]:
    given = {
        "max_versions": max_versions,
        "cas_required": cas_required,
        "delete_version_after": delete_version_after,
    }
    return {key: value for key, value in given.items() if value is not None}


@metadata.command(
    "put", examples="secretd kv metadata put -max-versions=5 -custom-metadata=owner=ann secret/app"
)
@click.argument("path")
@mount_option
@_limits
@pass_session
def put(
    session: Session, path: str, *, mount: str | None, custom_metadata: tuple[str, ...], **limits: Any
) -> None:
    """Set a secret's metadata; custom metadata is replaced as a whole."""
    body = _body(**limits)
    if custom_metadata:
        body["custom_metadata"] = parse_pairs(custom_metadata, what="--custom-metadata")
    place = locate(session, path, mount=mount)
    place.require_v2("metadata put")
    answer = session.send("PUT", place.at("metadata"), body=body)
    session.show_done(answer, f"Success! Data written to: {place.at('metadata')}")


@metadata.command("patch", examples="secretd kv metadata patch -remove-custom-metadata=owner secret/app")
@click.argument("path")
@mount_option
@_limits
@click.option("--remove-custom-metadata", multiple=True, metavar="KEY", help="Remove; may be repeated.")
@pass_session
def patch(
    session: Session,
    path: str,
    *,
    mount: str | None,
    custom_metadata: tuple[str, ...],
    remove_custom_metadata: tuple[str, ...],
    **limits: Any,
) -> None:
    """Change some of a secret's metadata and leave the rest."""
    body = _body(**limits)
    changed: dict[str, str | None] = {**parse_pairs(custom_metadata, what="--custom-metadata")}
    changed |= dict.fromkeys(remove_custom_metadata)
    if changed:
        body["custom_metadata"] = changed
    if not body:
        raise LocalError("there is nothing to change", hint="see `secretd kv metadata patch --help`")
    place = locate(session, path, mount=mount)
    place.require_v2("metadata patch")
    answer = session.send("PATCH", place.at("metadata"), body=body)
    session.show_done(answer, f"Success! Data patched at: {place.at('metadata')}")


@metadata.command("delete", examples="secretd kv metadata delete secret/app")
@click.argument("path")
@mount_option
@pass_session
def delete(session: Session, path: str, mount: str | None) -> None:
    """Delete a secret with all its versions, for good."""
    place = locate(session, path, mount=mount)
    place.require_v2("metadata delete")
    answer = session.send("DELETE", place.at("metadata"))
    session.show_done(answer, f"Success! Data deleted (if it existed) at: {place.at('metadata')}")
