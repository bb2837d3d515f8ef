"""systemd is told where it asks, and a daemon without systemd does not notice."""

from __future__ import annotations

import socket
import tempfile
import uuid
from pathlib import Path

import pytest

from secretd.server.notify import notify


@pytest.mark.parametrize("is_abstract", [False, True])
def test_notify(is_abstract: bool) -> None:
    """The state arrives as one datagram, at a path or at an abstract name."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"@{uuid.uuid4()}" if is_abstract else str(Path(folder) / "notify")
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(5)
        assert notify("READY=1", environ={"NOTIFY_SOCKET": name})
        assert manager.recv(64) == b"READY=1"


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}, {"NOTIFY_SOCKET": "x"}]
)
def test_nobody_listens(environ: dict[str, str]) -> None:
    """Without a socket, or with a dead one, nothing happens."""
    assert not notify("STOPPING=1", environ=environ)
