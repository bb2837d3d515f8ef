"""What only happens on a terminal: tables that interpret nothing, and prompts that echo nothing."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secretd.client.http import Access, Client
from secretd.sdk.fields import Sensitive


@dataclass(frozen=True)
class _Typed:
    """What the terminal showed and how the command ended."""

    screen: str
    code: int


def _type(
    args: list[str],
    *,
    environment: dict[str, str],
    answer: str = "",
    prompt: str = "",
    seen: Mapping[str, Callable[[], None]] | None = None,
) -> _Typed:
    """Run the command on a terminal of its own; type ``answer`` at ``prompt``, act when a text is ``seen``."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "secretd.cli.main", *args],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    screen, is_asked = b"", False
    while chunk := _read(master):
        screen += chunk
        for text, act in (seen or {}).items():
            if text.encode() in screen:
                act()
        if prompt and not is_asked and prompt.encode() in screen:
            is_asked = True
            os.write(master, answer.encode() + b"\n")
    os.close(master)
    return _Typed(screen.decode(), process.wait(timeout=60))


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says EIO when the last writer is gone
        return b""


def _environment(address: str, home: Path, token: str = "") -> dict[str, str]:
    names = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "SECRETD_ADDR": address}
    return names | ({"SECRETD_TOKEN": token} if token else {}) | {"COLUMNS": "40", "TERM": "xterm"}


def test_a_hostile_value_is_shown_as_text(dev_server: Any, tmp_path: Path) -> None:
    """Markup is not interpreted, escapes do not reach the terminal, and nothing long is cut."""
    address, token = dev_server.address, dev_server.token
    long = "database/creds/" + "x" * 120
    with Client(Access(address=address, token=Sensitive(token))) as client:
        data = {"markup": "[red]b[/b]", "escape": "a\x1b]0;owned\x07b", "long": long}
        client.send("PUT", "cubbyhole/hostile", body=data)
    environment = _environment(address, tmp_path, token)
    shown = _type(["read", "cubbyhole/hostile"], environment=environment)
    assert shown.code == 0
    assert "[red]b[/b]" in shown.screen
    assert "a\\x1b]0;owned\\x07b" in shown.screen
    assert "\x1b]0;" not in shown.screen
    assert long in shown.screen
    field = _type(["read", "-field=escape", "cubbyhole/hostile"], environment=environment)
    assert field.screen == "a\\x1b]0;owned\\x07b\r\n"


def test_a_password_is_asked_without_echo(dev_server: Any, tmp_path: Path) -> None:
    """The prompt takes the password, the screen never shows it, and the token is kept 0600."""
    address, token = dev_server.address, dev_server.token
    with Client(Access(address=address, token=Sensitive(token))) as client:
        client.send("POST", "sys/auth/typed", body={"type": "userpass"})
        client.send("POST", "auth/typed/users/ann", body={"password": "not-to-be-seen"})
    shown = _type(
        ["login", "-method=userpass", "-path=typed", "-no-print", "username=ann"],
        environment=_environment(address, tmp_path),
        prompt="Password",
        answer="not-to-be-seen",
    )
    assert shown.code == 0
    assert "not-to-be-seen" not in shown.screen
    kept = tmp_path / ".vault-token"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_text().strip() not in shown.screen


def test_a_slow_answer_is_announced(tmp_path: Path) -> None:
    """A person is told that the server is at work; the answer comes all the same."""
    answer = b'{"data": {"keys": ["done"]}}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        told = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                told.wait(timeout=60)
                connection.sendall(head + answer)

        server = threading.Thread(target=serve)
        server.start()
        shown = _type(["list", "x"], environment=_environment(address, tmp_path), seen={"waiting": told.set})
        server.join()
    assert shown.code == 0
    assert shown.screen.index("waiting for the server") < shown.screen.index("done")


def test_interrupt_at_a_prompt_ends_quietly(dev_server: Any, tmp_path: Path) -> None:
    """Ctrl-C at a prompt is no traceback."""
    environment = _environment(dev_server.address, tmp_path)
    shown = _type(["login"], environment=environment, prompt="Token", answer="\x04")
    assert "Traceback" not in shown.screen
    assert shown.code != 0


def test_top_is_drawn_again_in_place(dev_server: Any, tmp_path: Path) -> None:
    """A watch of leases looks as often as it was told, redraws its place on the screen, and ends with 0."""
    environment = _environment(dev_server.address, tmp_path, dev_server.token)
    shown = _type(["lease", "top", "--count=2", "--interval=0.2"], environment=environment)
    assert shown.code == 0, shown.screen
    assert shown.screen.count("oldest end unproved") >= 2 or shown.screen.count("pending") >= 2
    assert "\x1b[" in shown.screen
    assert "Traceback" not in shown.screen
