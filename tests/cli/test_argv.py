"""Go's flag spelling becomes click's and nothing else changes."""

from __future__ import annotations

import pytest

from secretd.cli.argv import Spelling, normalise

_KNOWN = {
    "--format": Spelling(takes_value=True),
    "--description": Spelling(takes_value=True),
    "--force": Spelling(takes_value=False),
    "-f": Spelling(takes_value=False),
    "--renewable": Spelling(takes_value=False, opposite="--no-renewable"),
    "--no-renewable": Spelling(takes_value=False),
}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["-format=json", "a"], ["--format=json", "a"]),
        (["-format", "json", "a"], ["--format", "json", "a"]),
        (["a", "-force"], ["a", "--force"]),
        (["-force=true"], ["--force"]),
        (["-force=false", "a"], ["a"]),
        (["--force=T"], ["--force"]),
        (["-force=perhaps"], ["--force=perhaps"]),
        (["-renewable=false"], ["--no-renewable"]),
        (["-renewable"], ["--renewable"]),
        (["--description", "-format"], ["--description", "-format"]),
        (["-description", "-f"], ["--description", "-f"]),
        (["-description=-force"], ["--description=-force"]),
        (["-description=two\nlines"], ["--description=two\nlines"]),
        (["-f", "-"], ["-f", "-"]),
        (["key=-format", "-"], ["key=-format", "-"]),
        (["--", "-format=json"], ["--", "-format=json"]),
        (["-unknown"], ["--unknown"]),
        (["-5m"], ["-5m"]),
        (["-format"], ["--format"]),
    ],
)
def test_go_spelling(given: list[str], wanted: list[str]) -> None:
    """Each way of writing a flag becomes the one that click reads."""
    assert normalise(given, _KNOWN) == wanted


def test_a_groups_rewriting_ends_at_the_verb() -> None:
    """What belongs to a sub-command is left to the sub-command, which knows its own options."""
    given = ["-format=json", "verb", "-format=yaml"]
    assert normalise(given, _KNOWN, interspersed=False) == ["--format=json", "verb", "-format=yaml"]
