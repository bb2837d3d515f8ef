"""Runs ``sessions/*.txt``: what a person types and what the terminal answers.

A line that starts with ``$`` is typed into one bash of the session (variables live on; ``>`` lines
continue it). What follows is its whole output, stdout and stderr together, and then ``! exit N`` if it
does not end with 0. In expected lines ``…`` stands for anything within the line, and a line of only
``…`` for any number of lines. ``#`` lines are prose. ``#! fresh`` asks for a server that is not initialised
(``$SERVER_FOLDER``, ``$STORAGE_URL``), ``#! database`` for an empty database (``$TARGET_URL``; ``psql-as USER SQL``
with the password on standard input), ``#! only TARGET`` for one target and ``#! both`` for two: see conftest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_MARK = "⟦done⟧"
_PSQL_AS = Path(__file__).with_name("psql_as.py")
_LIMIT = 170  # seconds for a whole session


@dataclass
class Step:
    """One command with the line it stands on, its expected lines and its exit code."""

    number: int
    command: str
    expected: list[str] = field(default_factory=list)
    exit_code: int = 0


def parse(text: str) -> list[Step]:
    """Return the steps of a session."""
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("$ "):
            steps.append(Step(number, line[2:]))
        elif line.startswith("> ") and steps and not steps[-1].expected:
            steps[-1].command += "\n" + line[2:]
        elif line.startswith("! exit "):
            steps[-1].exit_code = int(line.removeprefix("! exit "))
        elif steps and not line.startswith("#"):
            steps[-1].expected.append(line)
    return steps


def matches(expected: list[str], actual: list[str]) -> bool:
    """Compare lines; blank ones at the end count on neither side."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in _without_blank_end(expected)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _without_blank_end(actual))) is not None


def _without_blank_end(lines: list[str]) -> list[str]:
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def play(steps: list[Step], *, environment: dict[str, str], folder: Path) -> list[str]:
    """Type the steps into one bash and return a complaint for each that differs."""
    script = "".join(
        f"{{ {step.command}\n}} </dev/null 2>&1; printf '\\n{_MARK} %s\\n' $?\n" for step in steps
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-s"],
        input=script.encode(),
        capture_output=True,
        env=environment,
        cwd=folder,
        timeout=_LIMIT,
        check=False,
    )
    answers = re.findall(rf"(.*?)\n{_MARK} (\d+)\n", done.stdout.decode(), re.DOTALL)
    if len(answers) != len(steps):
        return [f"bash gave up: {done.stderr.decode()[-1000:]}"]
    return [
        f"line {step.number}: $ {step.command}\n{output}\n! exit {code}"
        for step, (output, code) in zip(steps, answers, strict=True)
        if int(code) != step.exit_code or not matches(step.expected, output.splitlines())
    ]


def _environment(home: Path, server: Any, *, database: str) -> dict[str, str]:
    """A user's environment in which ``secretd`` is this interpreter's console script."""
    binaries = home / "bin"
    binaries.mkdir()
    for name, command in {"secretd": "-m secretd.cli.main", "psql-as": f'"{_PSQL_AS}"'}.items():
        script = binaries / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
        script.chmod(0o755)
    environment = {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "SECRETD_ADDR": server.address,
        "TARGET_URL": database,
        **server.variables,
    }
    return environment | ({"SECRETD_TOKEN": server.token} if server.token else {})


def test_session(
    session: Path, target: str, server: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every session on file goes as it is written, on a real server."""
    text = session.read_text()
    database = request.getfixturevalue("target_dsn") if "\n#! database\n" in f"\n{text}" else ""
    home = tmp_path / "home"
    home.mkdir()
    steps = parse(text)
    complaints = play(steps, environment=_environment(home, server, database=database), folder=home)
    assert not complaints, "\n\n".join(complaints)
    assert steps


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    """The runner itself fails a session whose text or exit code differs."""
    steps = parse("$ echo one\none\n$ echo two\nthree\n$ false\n$ printf 'a\\nb\\n'\n…\nb\n")
    complaints = play(steps, environment={"PATH": os.environ["PATH"]}, folder=tmp_path)
    assert [complaint.splitlines()[0] for complaint in complaints] == [
        "line 3: $ echo two",
        "line 5: $ false",
    ]
