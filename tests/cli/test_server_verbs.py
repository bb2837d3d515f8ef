"""``server``, ``migrate`` and ``audit verify`` hand the daemon exactly what was typed.

A stand-in takes the place of the daemon's module: what is tested is the translation, not the daemon.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from secretd.cli.main import run
from secretd.sdk.fields import Sensitive
from secretd.server.options import AuditVerifyOptions, MigrateOptions, ServerOptions


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options that the daemon was called with; it ends with 7, and the check of a file with 2."""
    seen: list[Any] = []
    daemon, verify = ModuleType("secretd.server.daemon"), ModuleType("secretd.server.audit_verify")

    def end_with(code: int) -> Callable[[object], int]:
        def keep(options: object) -> int:
            seen.append(options)
            return code

        return keep

    vars(daemon).update(run_server=end_with(7), run_migrate=end_with(0))
    vars(verify).update(main=end_with(2))
    monkeypatch.setitem(sys.modules, "secretd.server.daemon", daemon)
    monkeypatch.setitem(sys.modules, "secretd.server.audit_verify", verify)
    return seen


def test_server_by_configuration(given: list[Any]) -> None:
    """A configuration file, with and without --check; the exit code is the daemon's."""
    assert run(["server", "--config", "a.toml"]) == 7
    assert run(["server", "-config=a.toml", "-check"]) == 7
    path = Path("a.toml")
    assert given == [ServerOptions(config=path), ServerOptions(config=path, is_check=True)]


def test_dev_server(given: list[Any]) -> None:
    """Dev mode with Vault's spelling; the token and the URL are hidden from every repr."""
    args = [
        "-dev-root-token-id=hidden",
        "-dev-listen-address=127.0.0.1:1",
        "--storage=postgresql://u:hidden@h/d",
    ]
    assert run(["server", "-dev", *args, "--data", "d"]) == 7
    assert given == [
        ServerOptions(
            dev=True,
            dev_root_token_id=Sensitive("hidden"),
            dev_listen_address="127.0.0.1:1",
            storage=Sensitive("postgresql://u:hidden@h/d"),
            data=Path("d"),
        )
    ]
    assert "hidden" not in repr(given)


def test_migrate(given: list[Any]) -> None:
    """A configuration or a storage URL, and --print-sql."""
    assert run(["migrate", "--config", "a.toml"]) == 0
    assert run(["migrate", "--storage", "postgresql://h/d", "--print-sql"]) == 0
    storage = Sensitive("postgresql://h/d")
    assert given == [MigrateOptions(config=Path("a.toml")), MigrateOptions(storage=storage, print_sql=True)]


def test_audit_verify(given: list[Any]) -> None:
    """The file and where the heads are; a tampered file is exit code 2."""
    assert run(["audit", "verify", "-config=a.toml", "audit.jsonl"]) == 2
    assert given == [AuditVerifyOptions(file=Path("audit.jsonl"), config=Path("a.toml"))]


@pytest.mark.parametrize(
    "args",
    [
        ["server"],
        ["server", "--dev", "--config=x"],
        ["server", "--dev", "--check"],
        ["server", "--config=x", "--dev-root-token-id=r"],
        ["server", "--config=x", "--storage=y"],
        ["migrate"],
        ["migrate", "--config=x", "--storage=y"],
    ],
)
def test_lines_that_mean_two_things(
    args: list[str], given: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A contradictory line is wrong usage, and the daemon is not called."""
    assert run(args) == 1
    assert not given
    assert capsys.readouterr().err.startswith("Error: ")
