"""Every verb explains itself."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from secretd.cli.base import Flags, VerbGroup
from secretd.cli.main import cli, run


def _walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, VerbGroup):
        context = click.Context(command, obj=Flags())
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is None:
                raise LookupError(name)
            yield from _walk(found, (*path, name))


_PATHS = [path for path in _walk(cli, ()) if path]


@pytest.mark.parametrize("path", _PATHS, ids=" ".join)
def test_help_has_a_sentence_and_examples(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Help ends with 0, says what the verb does, and a verb shows how to type it."""
    assert run([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: secretd {' '.join(path)}" in text
    sentence = text.split("\n\n")[1].strip()
    assert sentence[0].isupper()
    assert "." in sentence
    assert f"secretd {' '.join(path)}" in text.partition("Examples:")[2]


def test_single_dash_help(capsys: pytest.CaptureFixture[str]) -> None:
    """``-help`` and ``-h`` are help, too."""
    assert run(["kv", "get", "-help"]) == 0
    assert run(["kv", "-h"]) == 0
    assert "Usage: secretd kv get" in capsys.readouterr().out


def test_no_verb_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """A bare ``secretd`` or group shows its help on stderr and ends with 1."""
    assert run([]) == 1
    assert run(["kv"]) == 1
    output = capsys.readouterr()
    assert "Usage: secretd kv" in output.err
    assert not output.out
