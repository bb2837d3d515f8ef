"""The story of ``make run``, as a stranger sees it."""

from __future__ import annotations

import os
import subprocess
import sys


def test_the_story_holds() -> None:
    """A leased login works, is refused after its lease, leaves no account, and the exit code says so."""
    told = subprocess.run(
        [sys.executable, "-m", "secretd.server.story"],
        env={**os.environ, "ONCE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert told.returncode == 0, told.stderr
    assert "The lease is over. The same login is refused" in told.stdout
    assert "no account is left" in told.stdout
