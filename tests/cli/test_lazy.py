"""What is not needed is not imported: the command line answers before a person notices."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = ("rich", "structlog", "aiohttp", "yaml", "asyncpg", "uvloop", "cryptography", "lark", "asyncio")
_PROBE = """
import sys
from secretd.cli.main import run
code = run(sys.argv[2:])
found = [name for name in sys.argv[1].split(",") if name in sys.modules]
sys.stderr.write(f"exit {code}, imported {found}")
"""


def _imported(*args: str, watched: tuple[str, ...]) -> str:
    command = [sys.executable, "-c", _PROBE, ",".join(watched), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("args", [["--help"], ["version"], ["completion", "zsh"], ["kv", "--help"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    """Help and local verbs import neither a server's library nor a table drawer."""
    assert _imported(*args, watched=_HEAVY) == "exit 0, imported []"


def test_help_imports_no_verb() -> None:
    """The table of verbs is printed without importing one, nor the HTTP client."""
    watched = ("secretd.cli.kv", "secretd.cli.data", "secretd.cli.server", "http.client", "ssl", "msgspec")
    assert _imported("--help", watched=watched) == "exit 0, imported []"


def test_a_request_imports_nothing_heavy() -> None:
    """A verb that speaks to a server stays on the standard library and msgspec."""
    line = _imported("--address=http://127.0.0.1:1", "kv", "get", "secret/x", watched=_HEAVY)
    assert line == "exit 2, imported []"


def test_only_the_daemon_verbs_import_the_server() -> None:
    """A wrong line of ``server`` is refused before the daemon's code is imported."""
    assert _imported("server", watched=("secretd.server",)) == "exit 1, imported []"
