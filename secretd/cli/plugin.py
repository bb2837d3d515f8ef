"""``secretd plugin …``: which plugins are installed here, and the pin of each. No server is asked.

A plugin is an entry point of one of two groups. Its pin is ``sha256:`` and the SHA-256, in hex, of
its distribution's RECORD file byte for byte; RECORD in turn holds a hash of every file.
"""

from __future__ import annotations

import hashlib
import re
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path

import click

from secretd.cli.base import VerbGroup
from secretd.cli.errors import LocalError
from secretd.cli.output import Table, View, pairs_table, print_view

GROUPS = ("secretd.databases", "secretd.credentials")
_HEADERS = ("Plugin", "Kind", "Distribution", "Version")


@click.group("plugin", cls=VerbGroup, examples="secretd plugin list\nsecretd plugin info secretd-postgresql")
def plugin() -> None:
    """List and inspect the plugins installed here."""


@plugin.command("list", examples="secretd plugin list")
@click.pass_context
def list_(context: click.Context) -> None:
    """List the installed plugins. The server runs those that its configuration allows."""
    found = [_describe(point) for point in _find_points()]
    rows = [[item["name"], item["kind"], item["distribution"], item["version"]] for item in found]
    blocks: list[Table | str] = [Table(_HEADERS, rows)] if rows else ["There are no plugins here"]
    print_view(View(document=found, blocks=blocks), context.find_root().obj)


@plugin.command(
    "info",
    examples="secretd plugin info secretd-postgresql\nsecretd plugin info -field=pin secretd-postgresql",
)
@click.argument("name")
@click.pass_context
def info(context: click.Context, name: str) -> None:
    """Show a plugin's distribution and its pin, for [plugins.pins] of the configuration."""
    for point in _find_points():
        found = _describe(point)
        if name in {found["name"], found["distribution"]}:
            view = View(document=found, fields=found, blocks=[pairs_table(found)])
            print_view(view, context.find_root().obj)
            return
    raise LocalError(f"no plugin {name} is installed here", hint="`secretd plugin list`")


def _find_points() -> list[EntryPoint]:
    found = [point for group in GROUPS for point in entry_points(group=group)]
    return sorted(found, key=lambda point: (point.name, point.group))


def _describe(point: EntryPoint) -> dict[str, str]:
    dist = point.dist
    return {
        "name": point.name,
        "kind": point.group.removeprefix("secretd."),
        "target": point.value,
        "distribution": dist.name if dist else "",
        "version": dist.version if dist else "",
        "pin": _find_pin(dist) if dist else "",
    }


def _find_pin(dist: Distribution) -> str:
    # Not read_text(): it translates line ends, and the pin is over bytes.
    infos = [
        info for info in Path(str(dist.locate_file(""))).glob("*.dist-info")
        if _normal(info.name.partition("-")[0]) == _normal(dist.name) and (info / "RECORD").is_file()
    ]  # fmt: skip
    if len(infos) != 1:
        return ""
    return "sha256:" + hashlib.sha256((infos[0] / "RECORD").read_bytes()).hexdigest()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
