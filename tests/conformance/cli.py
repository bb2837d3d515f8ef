"""The real ``bao`` command line as a client."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.servers import find_bao


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, decoded."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Bao:
    """``bao`` with its address, token and home set."""

    url: str
    token: str
    home: Path

    def run(self, *words: str, given: str = "") -> Done:
        """Run a command; a failing one is an answer, too."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "BAO_ADDR": self.url,
            "LANG": "C.UTF-8",
        }
        if self.token:
            environment["BAO_TOKEN"] = self.token
        done = subprocess.run(
            [find_bao(), *words],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environment,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def __call__(self, *words: str, given: str = "") -> str:
        """Run a command that must succeed; its output."""
        done = self.run(*words, given=given)
        assert done.code == 0, f"bao {' '.join(words)}: {done.err}{done.out}"
        return done.out

    def json(self, *words: str) -> Any:
        """Run a command that must succeed, and decode its output."""
        at = 2 if len(words) > 1 and not words[1].startswith("-") and words[0] in _GROUPS else 1
        return json.loads(self(*words[:at], "-format=json", *words[at:]))


_GROUPS = {"kv", "secrets", "auth", "policy", "token", "lease", "audit", "operator"}
