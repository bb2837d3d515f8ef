"""The daemon's log says what happened and where, and no value of anybody's."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from secretd.sdk.errors import StorageUnavailableError
from secretd.sdk.fields import Sensitive
from secretd.server.logging import clean_text, configure_logging, describe_error, set_level

CANARY = "c4n4ryS3cret"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def sink() -> Iterator[io.StringIO]:
    """What is logged as JSON from info on; the process's logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The events, and proof that each is one line of JSON without the marked value."""
    assert CANARY not in stream.getvalue()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event(sink: io.StringIO) -> None:
    """An event is a line with its keys, level, logger and time."""
    structlog.get_logger().info("lease.revoked", lease_id="database/creds/app/x", leases=3)
    (event,) = lines(sink)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "lease.revoked", "lease_id": "database/creds/app/x", "leases": 3, "level": "info", "logger": __name__,
    }  # fmt: skip


def test_level_changes_at_once(sink: io.StringIO) -> None:
    """A reload's level reaches loggers made before it, ours and others'."""
    ours, theirs = structlog.get_logger(), logging.getLogger("asyncpg")
    ours.debug("a")
    set_level("debug")
    ours.debug("b")
    theirs.debug("c")
    set_level("error")
    ours.warning("d")
    theirs.warning("e")
    assert [event["event"] for event in lines(sink)] == ["b", "c"]


def test_exceptions_have_no_words(sink: io.StringIO) -> None:
    """An exception is its class, its causes' classes and the lines it passed; neither text nor locals."""
    password = CANARY
    try:
        try:
            raise ValueError(f"bad value {password}")
        except ValueError as error:
            raise StorageUnavailableError(f"cannot store {password}") from error
    except StorageUnavailableError:
        structlog.get_logger().exception("storage.failed")
    (event,) = lines(sink)
    assert event["error"] == "StorageUnavailableError from ValueError"
    assert event["at"][-1].endswith("test_exceptions_have_no_words")
    assert not any(place.startswith("/") for place in event["at"])


def test_groups_name_their_members() -> None:
    """A task group's error names what failed inside it."""
    group = ExceptionGroup(CANARY, [KeyError(CANARY), ValueError(CANARY)])
    assert describe_error(group) == ("ExceptionGroup(KeyError, ValueError)", [])


def test_values_are_cleaned(sink: io.StringIO) -> None:
    """Secrets, exceptions, bytes and strange objects given as values show their class at most."""
    structlog.get_logger().info(
        "x",
        wrapped=Sensitive(CANARY),
        error=ValueError(CANARY),
        raw=CANARY.encode(),
        nested={"list": [Sensitive(CANARY), 1, Path("a/b")]},
        password=CANARY,
        note=f"hvs.{CANARY}AAAA and postgresql://u:{CANARY}@h/x",
    )
    (event,) = lines(sink)
    assert (event["wrapped"], event["error"], event["raw"]) == ("<Sensitive>", "ValueError", "<bytes>")
    assert event["nested"] == {"list": ["<Sensitive>", 1, "a/b"]}
    assert event["note"] == "hvs.(redacted) and postgresql://u:(redacted)@h/x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token hvb.AAAAAQKabcdef_-x.", "token hvb.(redacted)."),
        ("password='it''s' x", "password=(redacted)(redacted) x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----!", "(private key)!"),
        ("SCRAM-SHA-256$4096:aa$bb:cc", "SCRAM-SHA-256$(redacted)"),
        ("a\nb\x1b[31m", "a\\x0ab\\x1b[31m"),
        ("https://secretd.example:8200/v1", "https://secretd.example:8200/v1"),
    ],
)
def test_shapes(text: str, shown: str) -> None:
    """What looks like a secret is taken out, and no text makes a line of its own."""
    if "it''s" in text:
        assert "it" not in clean_text(text)
    else:
        assert clean_text(text) == shown


def test_other_libraries_keep_their_constants(sink: io.StringIO) -> None:
    """Another library's record keeps its constant text, without arguments and formatted values."""
    log = logging.getLogger("apscheduler.executors.default")
    log.error('Job "%s" raised an exception', CANARY, exc_info=ValueError(CANARY))
    log.info("noise")
    logging.getLogger("asyncio").error(f"Exception in callback run('{CANARY}')\nhandle: <Handle {CANARY}>")  # noqa: G004
    logging.getLogger("elsewhere").warning(ValueError(CANARY))
    events = lines(sink)
    assert [event["event"] for event in events] == [
        'Job "%s" raised an exception', "Exception in callback run", "ValueError",
    ]  # fmt: skip
    assert events[0]["error"] == "ValueError"


def test_broken_records_are_silent(sink: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """A record that cannot be formatted shows its arguments nowhere, also not on stderr."""
    logging.getLogger("elsewhere").warning("%d", CANARY)
    assert CANARY not in sink.getvalue() + capsys.readouterr().err


def test_loop_errors(sink: io.StringIO) -> None:
    """A callback that fails in asyncio's loop is told by class and place."""

    def fail(secret: str) -> None:
        raise RuntimeError(secret)

    async def run() -> None:
        asyncio.get_running_loop().call_soon(fail, CANARY)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(run())
    (event,) = lines(sink)
    assert event["logger"] == "asyncio" and event["error"] == "RuntimeError"
    assert event["at"][-1].endswith("fail")


def test_hooks(sink: io.StringIO) -> None:
    """What nobody caught, in the main thread or another, is an event and no traceback."""
    error = ValueError(CANARY)
    sys.excepthook(ValueError, error, None)
    thread = threading.Thread(target=lambda: int(CANARY))
    thread.start()
    thread.join()
    events = lines(sink)
    assert [(event["event"], event["error"], event["level"]) for event in events] == [
        ("uncaught", "ValueError", "critical")
    ] * 2


def test_console_on_a_terminal(sink: io.StringIO) -> None:
    """Without a format a terminal gets readable lines, and what is told to write json writes json there too."""
    stream = Terminal()
    configure_logging("info", stream=stream)
    structlog.get_logger().warning("lease.not_issued", lease_id="x")
    assert "lease.not_issued" in stream.getvalue() and not stream.getvalue().startswith("{")
    stream = Terminal()
    configure_logging("info", "json", stream=stream)
    structlog.get_logger().warning("lease.not_issued")
    assert lines(stream)[0]["event"] == "lease.not_issued"
