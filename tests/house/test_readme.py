"""The first steps of README.md, taken by a machine beside a `make run` that stays up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 60.0  # seconds until the story is told
_STEP = re.compile(r"^```(bash|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def printed(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What `make run` prints for another shell, as that shell's environment."""
    environment = {name: value for name, value in os.environ.items() if name != "ONCE"}
    with (tmp_path / "story").open("wb") as told:
        story = subprocess.Popen(
            [sys.executable, "-m", "secretd.server.story"], env=environment, stdout=told, stderr=told
        )
    try:
        yield _read_exports(tmp_path / "story", story)
    finally:
        story.send_signal(signal.SIGINT)
        story.wait(30)


def _read_exports(told: Path, story: subprocess.Popen[bytes]) -> dict[str, str]:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and story.poll() is None:
        text = told.read_text(encoding="utf-8")
        if "End it with" in text:
            line = re.search(r"^\s*export (VAULT_ADDR=.*)$", text, re.MULTILINE)
            assert line
            return dict(word.split("=", 1) for word in line[1].split())
        time.sleep(0.1)
    pytest.fail(told.read_text(encoding="utf-8"), pytrace=False)


def test_first_steps_work(printed: dict[str, str]) -> None:
    """Each block of first steps, in the shell and in Python, ends well on the daemon of `make run`."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    steps = _STEP.findall(page[page.index("## First steps") : page.index("## A credential's life")])
    assert [language for language, _ in steps] == ["bash", "bash", "python"]
    environment = {"PATH": os.defpath, "HOME": os.devnull, "LC_ALL": "C.UTF-8", **printed}
    here = str(Path(sys.executable).parent)
    for language, text in steps:
        program = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
        done = subprocess.run(
            [*program, text.replace(".venv/bin", here).replace("curl -s", "curl -s --fail")],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, text + done.stdout + done.stderr
