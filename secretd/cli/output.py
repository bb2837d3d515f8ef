"""What a person or a program sees: one :class:`View`, printed as table, JSON, YAML, raw or one field.

Tables are aligned text; on a terminal ``rich`` draws them, imported only then. Values are never
interpreted: no markup, no control characters on a terminal.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from secretd.cli.errors import LocalError, make_printable
from secretd.sdk.fields import go_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType
    from rich.table import Table as RichTable

    from secretd.cli.base import Flags

_GAP = "    "


@dataclass(frozen=True)
class Table:
    """Rows of texts under headers; ``title`` stands above if given."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]] = field(repr=False)
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class View:
    """One answer in all its forms.

    ``document`` is what JSON and YAML print (None: nothing), ``fields`` what ``--field`` picks from,
    ``blocks`` the tables and sentences for people, ``raw`` the bytes that came over the wire.
    """

    document: Any = field(default=None, repr=False)
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    blocks: Sequence[Table | str] = field(default=(), repr=False)
    raw: bytes = field(default=b"", repr=False)


def pairs_table(pairs: Mapping[str, Any], *, title: str = "") -> Table:
    """Make the usual table of keys and values."""
    return Table(("Key", "Value"), [(key, show_value(key, value)) for key, value in pairs.items()], title)


def show_value(key: str, value: Any) -> str:
    """One cell: text as it is, spans as Go durations, absent as ``n/a``, the rest as compact JSON."""
    if value is None or value == "":
        return "n/a"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int) and key.endswith(("lease_duration", "token_duration")):
        return show_duration(value) if value else "∞"
    return msgspec.json.encode(value).decode()


def show_duration(seconds: int) -> str:
    """Seconds as people write them: ``768h``, ``1h30m``, ``45s``."""
    text = go_duration(seconds)
    text = text.removesuffix("0s") if text.endswith("m0s") else text
    return text.removesuffix("0m") if text.endswith("h0m") else text


def print_view(view: View, flags: Flags) -> None:
    """Print the view as the flags ask; raise LocalError if the field is not in it."""
    if flags.field is not None:
        _print_field(view, flags)
    elif flags.format == "raw" and view.raw:
        sys.stdout.buffer.write(view.raw)
        sys.stdout.buffer.flush()
    elif flags.format == "table":
        _print_blocks(view.blocks)
    elif view.document is not None:
        print_document(view.document, style=flags.format)


def print_document(document: Any, *, style: str) -> None:
    """Print a JSON or YAML text with a line break at its end."""
    if style == "yaml":
        import yaml  # 30 ms that only --format yaml pays

        sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    else:
        text = msgspec.json.format(msgspec.json.encode(document), indent=2)
        sys.stdout.write(text.decode() + "\n")


def _print_field(view: View, flags: Flags) -> None:
    name = flags.field or ""
    if name not in view.fields:
        known = ", ".join(view.fields)
        raise LocalError(
            f"the answer has no field {name}", hint=f"it has: {known}" if known else "it has no fields at all"
        )
    value = view.fields[name]
    if flags.format in {"json", "yaml"}:
        print_document(value, style=flags.format)
        return
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    # A pipe gets the value and not one byte more; a person gets the prompt on a new line.
    sys.stdout.write(make_printable(text) + "\n" if sys.stdout.isatty() else text)


def _print_blocks(blocks: Iterable[Table | str]) -> None:
    on_terminal = sys.stdout.isatty()
    for number, block in enumerate(blocks):
        if number:
            sys.stdout.write("\n")
        if isinstance(block, str):
            sys.stdout.write((make_printable(block) if on_terminal else block) + "\n")
        elif on_terminal:
            _print_rich(block)
        else:
            sys.stdout.write(_plain(block))


def _plain(table: Table) -> str:
    """Aligned columns; the last one is not padded, and a value with line breaks goes on unindented."""
    rows = [table.headers, ["-" * len(header) for header in table.headers], *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.headers))]
    lines = [
        _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(" ")
        for row in rows
    ]
    return "\n".join([table.title, *lines] if table.title else lines) + "\n"


def draw(blocks: Iterable[Table | str]) -> RenderableType:
    """What :func:`print_view` prints, for a screen that is drawn again and again: cut at its edges."""
    from rich.console import Group
    from rich.text import Text

    return Group(
        *(
            Text(make_printable(block)) if isinstance(block, str) else _rich_table(block, overflow="ellipsis")
            for block in blocks
        )
    )


def _rich_table(table: Table, *, overflow: Literal["ignore", "ellipsis"]) -> RichTable:
    from rich import box  # 40 ms that only a terminal pays
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in table.headers:
        drawn.add_column(Text(header), no_wrap=True, overflow=overflow)
    for row in table.rows:
        drawn.add_row(*(Text(make_printable(cell)) for cell in row))
    return drawn


def _print_rich(table: Table) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    drawn = _rich_table(table, overflow="ignore")
    # Never cut or fold: a lease id must survive being copied from the screen. So the console is as
    # wide as the widest cells want it, whatever the terminal's width is.
    widest = [max(map(cell_len, cells)) for cells in zip(table.headers, *table.rows, strict=True)]
    console = Console(highlight=False, width=sum(widest) + 4 * len(widest))
    if table.title:
        console.print(Text(table.title, style="bold"))
    console.print(drawn, soft_wrap=True)
