"""``secretd kv …``: static secrets. Each verb first asks which engine version serves the path.

:func:`locate` turns ``secret/app/db`` (or ``-mount=secret app/db``) into a :class:`Place`; on version
2 the path gets its ``data/``, ``metadata/`` … part behind the mount.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from secretd.cli.base import VerbGroup, pass_session
from secretd.cli.data import show_keys
from secretd.cli.errors import LocalError, ServerSaidNoError
from secretd.cli.output import Table, View, pairs_table
from secretd.cli.values import parse_values
from secretd.client.errors import RefusedError

if TYPE_CHECKING:
    from secretd.cli.session import Session
    from secretd.client.http import Answer


mount_option = click.option("--mount", metavar="PATH", help="Where the engine is; then PATH is below it.")
versions_option = click.option("--versions", required=True, metavar="N,N…", help="Versions, by comma.")
cas_option = click.option(
    "--cas", type=int, metavar="N", help="Write only if N is the current version; 0: none."
)


@dataclass(frozen=True)
class Place:
    """A secret's place: the mount with its slash, the path below it, the engine's version (1 or 2)."""

    mount: str
    below: str
    version: int

    def at(self, part: str) -> str:
        """Return the API path of one part (``data``, ``metadata``, ``delete`` …); version 1 has no parts."""
        return f"{self.mount}{part}/{self.below}" if self.version > 1 else f"{self.mount}{self.below}"

    def require_v2(self, verb: str) -> None:
        """Raise LocalError on version 1, which keeps no versions and no metadata."""
        if self.version < 2:  # the engine's version
            raise LocalError(
                f"`kv {verb}` needs version 2 of the engine, and {self.mount} is version 1",
                hint=f"upgrade it: `secretd secrets tune -version=2 {self.mount}`",
            )


def locate(session: Session, path: str, *, mount: str | None) -> Place:
    """Ask the server for the mount of a path and its version; raise its errors."""
    asked = mount.strip("/") if mount else path.strip("/")
    found = session.look("GET", f"sys/internal/ui/mounts/{asked}").data
    options = found.get("options")
    version = str(options.get("version", "1")) if isinstance(options, dict) else "1"
    prefix = str(found.get("path") or asked).strip("/") + "/"
    below = path.lstrip("/")
    if not mount:
        # The mount may be deeper than the first segment, and a whole mount may be listed.
        below = f"{below}/".removeprefix(prefix).removesuffix("/") if below else ""
        if path.endswith("/") and below and not below.endswith("/"):
            below += "/"
    return Place(prefix, below, 2 if version == "2" else 1)


def parse_versions(text: str) -> list[int]:
    """``1,3`` as numbers; raise LocalError on anything else."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise LocalError("--versions is a list of numbers", hint="write it as --versions=1,2")
    return [int(part) for part in parts]


@click.group(
    "kv",
    cls=VerbGroup,
    lazy={"metadata": ("secretd.cli.kv_metadata:metadata", "Read and set metadata.")},
    examples="""
secretd kv put secret/app user=app password=@pw.txt
secretd kv get -field=password secret/app
secretd kv list secret
""",
)
def kv() -> None:
    """Keep static secrets, with versions."""


def _show_secret(session: Session, answer: Answer, place: Place) -> None:
    data, metadata = answer.data.get("data"), answer.data.get("metadata")
    if place.version == 1 or not isinstance(data, dict) or not isinstance(metadata, dict):
        session.show(answer)
        return
    blocks: list[Table | str] = [
        f"Path: {place.at('data')}",
        pairs_table(metadata, title="Metadata"),
        pairs_table({key: data[key] for key in sorted(data)}, title="Data"),
    ]
    session.show(answer, View(document=answer.body, fields=data, blocks=blocks, raw=answer.raw))


def show_written(session: Session, answer: Answer, place: Place) -> None:
    """Show what a write of version 2 answers: the new version's metadata."""
    if not answer.data:
        session.show(answer, done=f"Success! Data written to: {place.at('data')}")
        return
    blocks: list[Table | str] = [f"Path: {place.at('data')}", pairs_table(answer.data, title="Metadata")]
    session.show(answer, View(document=answer.body, fields=answer.data, blocks=blocks, raw=answer.raw))


@kv.command(
    "get", examples="secretd kv get secret/app\nsecretd kv get -mount=secret -version=2 -field=password app"
)
@click.argument("path")
@mount_option
@click.option("--version", "wanted", type=int, metavar="N", help="An older version (engine version 2).")
@pass_session
def get(session: Session, path: str, mount: str | None, wanted: int | None) -> None:
    """Read a secret."""
    place = locate(session, path, mount=mount)
    if wanted is not None:
        place.require_v2("get -version")
    query = {"version": str(wanted)} if wanted is not None else None
    try:
        answer = session.send("GET", place.at("data"), query=query)
    except RefusedError as error:
        raise _explain_gone(error, place) from None
    _show_secret(session, answer, place)


def _explain_gone(error: RefusedError, place: Place) -> RefusedError | ServerSaidNoError:
    """Tell a deleted version, a 404 with a body, from a secret that never was."""
    metadata = error.answer.data.get("metadata")
    if not isinstance(metadata, dict):
        return error
    number, path = metadata.get("version"), f"{place.mount}{place.below}"
    if metadata.get("destroyed"):
        return ServerSaidNoError(
            f"version {number} of {path} is destroyed",
            hint=f"see what is left: `secretd kv metadata get {path}`",
        )
    return ServerSaidNoError(
        f"version {number} of {path} is deleted",
        hint=f"bring it back: `secretd kv undelete -versions={number} {path}`",
    )


@kv.command(
    "put", examples="secretd kv put secret/app user=app password=@pw.txt\nsecretd kv put -cas=3 secret/app -"
)
@click.argument("path")
@click.argument("values", nargs=-1, required=True, metavar="KEY=VALUE...")
@mount_option
@cas_option
@pass_session
def put(session: Session, path: str, values: tuple[str, ...], mount: str | None, cas: int | None) -> None:
    """Write a secret; on version 2 of the engine this adds a version."""
    data = parse_values(values)
    place = locate(session, path, mount=mount)
    if cas is not None:
        place.require_v2("put -cas")
    show_written(session, _put(session, place, data, cas=cas), place)


def _put(session: Session, place: Place, data: dict[str, Any], *, cas: int | None) -> Answer:
    if place.version == 1:
        return session.send("PUT", place.at("data"), body=data)
    options = {} if cas is None else {"cas": cas}
    return session.send("PUT", place.at("data"), body={"data": data, "options": options})


@kv.command(
    "patch",
    examples="secretd kv patch secret/app password=@pw.txt\nsecretd kv patch -remove-data=old secret/app",
)
@click.argument("path")
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
@mount_option
@cas_option
@click.option("--method", type=click.Choice(["patch", "rw"]), help="One PATCH, or read and write with -cas.")
@click.option("--remove-data", multiple=True, metavar="KEY", help="Remove this key; may be repeated.")
@pass_session
def patch(
    session: Session,
    path: str,
    values: tuple[str, ...],
    *,
    mount: str | None,
    cas: int | None,
    method: str | None,
    remove_data: tuple[str, ...],
) -> None:
    """Change some keys of a secret (engine version 2). Without -method: PATCH, else read and write."""
    change: dict[str, Any] = parse_values(values) | dict.fromkeys(remove_data)
    if not change:
        raise LocalError("there is nothing to change", hint="give KEY=VALUE or -remove-data=KEY")
    place = locate(session, path, mount=mount)
    place.require_v2("patch")
    show_written(session, _patch(session, place, change, cas=cas, method=method), place)


def _patch(
    session: Session, place: Place, change: dict[str, Any], *, cas: int | None, method: str | None
) -> Answer:
    if method != "rw":
        options = {} if cas is None else {"cas": cas}
        try:
            return session.send("PATCH", place.at("data"), body={"data": change, "options": options})
        except RefusedError as error:
            # Older servers know no PATCH; a 403 is a policy's word and is not worked around.
            if method == "patch" or error.status != 405:
                raise
    current = session.look("GET", place.at("data"))
    merged = _merge(current.data.get("data") or {}, change)
    number = cas if cas is not None else int((current.data.get("metadata") or {}).get("version", 0))
    return _put(session, place, merged, cas=number)


def _merge(stored: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """JSON merge patch, as the server does it."""
    merged = dict(stored)
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            kept = merged.get(key)
            merged[key] = _merge(kept if isinstance(kept, dict) else {}, value)
        else:
            merged[key] = value
    return merged


@kv.command("list", examples="secretd kv list secret/\nsecretd kv list -mount=secret app")
@click.argument("path", default="")
@mount_option
@pass_session
def list_(session: Session, path: str, mount: str | None) -> None:
    """List the names under a path."""
    if not path and not mount:
        raise LocalError("there is no path to list", hint="`secretd kv list secret/`")
    place = locate(session, path, mount=mount)
    try:
        answer = session.send("LIST", place.at("metadata"))
    except RefusedError as error:
        if error.status == 404 and not error.reasons:  # an empty LIST
            raise ServerSaidNoError(f"nothing is under {place.mount}{place.below}") from None
        raise
    show_keys(session, answer, path=f"{place.mount}{place.below}")


@kv.command("delete", examples="secretd kv delete secret/app\nsecretd kv delete -versions=1,2 secret/app")
@click.argument("path")
@mount_option
@click.option("--versions", metavar="N,N…", help="These versions, not the latest (engine version 2).")
@pass_session
def delete(session: Session, path: str, mount: str | None, versions: str | None) -> None:
    """Delete a secret; on version 2 the latest version, which can be brought back."""
    numbers = parse_versions(versions) if versions else None
    place = locate(session, path, mount=mount)
    if numbers is None:
        answer = session.send("DELETE", place.at("data"))
    else:
        place.require_v2("delete -versions")
        answer = session.send("PUT", place.at("delete"), body={"versions": numbers})
    session.show_done(answer, f"Success! Data deleted (if it existed) at: {place.at('data')}")


def _versions_verb(name: str, *, summary: str, done: str) -> None:
    """Add ``undelete`` or ``destroy``: the same request on another part of the mount."""

    @kv.command(name, help=summary, examples=f"secretd kv {name} -versions=2 secret/app")
    @click.argument("path")
    @mount_option
    @versions_option
    @pass_session
    def verb(session: Session, path: str, mount: str | None, versions: str) -> None:
        numbers = parse_versions(versions)
        place = locate(session, path, mount=mount)
        place.require_v2(name)
        answer = session.send("PUT", place.at(name), body={"versions": numbers})
        session.show_done(answer, f"Success! Data {done}: {place.at(name)}")


_versions_verb("undelete", summary="Bring deleted versions back.", done="undeleted at")
_versions_verb("destroy", summary="Destroy versions for good.", done="destroyed (if it existed) at")


@kv.command("rollback", examples="secretd kv rollback -version=2 secret/app")
@click.argument("path")
@mount_option
@click.option("--version", "wanted", type=int, required=True, metavar="N", help="The version to bring back.")
@pass_session
def rollback(session: Session, path: str, mount: str | None, wanted: int) -> None:
    """Write an older version's data as the newest version."""
    place = locate(session, path, mount=mount)
    place.require_v2("rollback")
    current = session.look("GET", place.at("metadata"))
    try:
        old = session.look("GET", place.at("data"), query={"version": str(wanted)})
    except RefusedError as error:
        raise _explain_gone(error, place) from None
    # The check-and-set keeps a version that somebody writes meanwhile from being buried unseen.
    number = int(current.data.get("current_version", 0))
    show_written(session, _put(session, place, old.data.get("data") or {}, cas=number), place)


@kv.command("enable-versioning", examples="secretd kv enable-versioning team/")
@click.argument("path")
@pass_session
def enable_versioning(session: Session, path: str) -> None:
    """Make an empty mount of version 1 one of version 2."""
    where = path.strip("/")
    answer = session.send("POST", f"sys/mounts/{where}/tune", body={"options": {"version": "2"}})
    session.show_done(answer, f"Success! Enabled versioning at: {where}/")
