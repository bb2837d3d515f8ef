"""Data arguments that sessions do not show."""

from __future__ import annotations

from pathlib import Path

import pytest

from secretd.cli.errors import LocalError, make_printable
from secretd.cli.output import show_duration, show_value
from secretd.cli.values import parse_pairs, parse_values


def test_shapes(tmp_path: Path) -> None:
    r"""A repeated key is a list, ``=`` in a value stays, an empty value is empty, ``\\@`` is a plain ``@``."""
    tmp_path.joinpath("f").write_bytes(b"x\r\n")
    args = ["a=1", "b=2", "a=3", "a=4", "c=x=y", "d=", "e=\\@f", f"g=@{tmp_path}/f"]
    wanted = {"a": ["1", "3", "4"], "b": "2", "c": "x=y", "d": "", "e": "@f", "g": "x\r\n"}
    assert parse_values(args) == wanted


@pytest.mark.parametrize("arg", ["topsecret", "=topsecret", "@no-such-file", "k=@no-such-file"])
def test_refusals_do_not_echo_values(arg: str) -> None:
    """A malformed argument may be a secret typed in the wrong place."""
    with pytest.raises(LocalError) as caught:
        parse_values([arg])
    assert "topsecret" not in str(caught.value)


def test_binary_files_are_refused(tmp_path: Path) -> None:
    """JSON cannot carry bytes; the hint says what to do."""
    tmp_path.joinpath("b").write_bytes(b"\xff\x00")
    with pytest.raises(LocalError) as caught:
        parse_values([f"k=@{tmp_path}/b"])
    assert "base64" in (caught.value.hint or "")


def test_pairs() -> None:
    """Pairs are taken as they are: no file is read for ``@``."""
    assert parse_pairs(["a=@b", "c=-"], what="x") == {"a": "@b", "c": "-"}
    with pytest.raises(LocalError, match="--metadata"):
        parse_pairs(["a"], what="--metadata")


@pytest.mark.parametrize(
    ("seconds", "wanted"), [(3600, "1h"), (5400, "1h30m"), (45, "45s"), (600, "10m"), (3601, "1h0m1s")]
)
def test_durations(seconds: int, wanted: str) -> None:
    """Spans are written the short way."""
    assert show_duration(seconds) == wanted


def test_cells() -> None:
    """A cell shows absent values, booleans and structures in words that can be typed back."""
    shown = [show_value("k", value) for value in (None, "", True, False, 0, [1], {"a": None}, "x")]
    assert shown == ["n/a", "n/a", "true", "false", "0", "[1]", '{"a":null}', "x"]
    assert show_value("lease_duration", 0) == "∞"


def test_control_characters() -> None:
    """Escapes, C1 controls and carriage returns are spelled out; tabs and line ends stay."""
    assert make_printable("a\x1b[0m\x9b\r\t\n") == "a\\x1b[0m\\x9b\\x0d\t\n"
