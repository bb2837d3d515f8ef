"""The daemon's log: one event a line, on stderr, JSON or for a terminal's reader. Our loggers and everybody else's.

What may stand in it
1. Of an exception, the classes and the lines they passed: no message, no locals. A driver's message quotes
   statements, a decoder's quotes values.
2. Of another library's record, its constant text: not the arguments, nor the reprs it formatted beforehand
   (asyncio shows the arguments of a callback that failed).
3. Of a value, what it is if it is plain; its class if not. A ``Sensitive`` shows nothing anywhere.
4. As a belt: tokens, passwords in URLs and private keys are recognised by shape and taken out.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TextIO
from uuid import UUID

import structlog
from structlog.typing import EventDict, WrappedLogger

from secretd.server.config_schema import Format, Level

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_NOISY: Final = ("apscheduler", "asyncio", "aiohttp.access", "aiohttp.client")  # warnings and worse only
_SAFE_PREFIX: Final = "http."  # of aiohttp's server log, which http/runner.py has rewritten already
_MAX_TEXT: Final = 2048  # characters of one value
_MAX_DEPTH: Final = 6
_MAX_PLACES: Final = 8  # lines of a traceback, innermost last
_SHAPES: Final = (
    (re.compile(r"\bhv([sbr])\.[A-Za-z0-9_-]{6,}"), r"hv\1.(redacted)"),
    (re.compile(r"\bs\.[A-Za-z0-9]{24}\b"), "s.(redacted)"),
    (re.compile(r"(://[^\s:/@]*:)[^\s/@]+@"), r"\1(redacted)@"),
    (re.compile(r"\b(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'&]+)", re.IGNORECASE), r"\1(redacted)"),
    (re.compile(r"SCRAM-SHA-256\$\S+"), "SCRAM-SHA-256$(redacted)"),
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        "(private key)",
    ),
)
_NAMES: Final = frozenset(
    {"password", "token", "secret", "secret_id", "key_share"}
)  # no event has them in clear
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONSTANT: Final = re.compile(r"[^\n<({\[\"'=]*")  # a preformatted text, as far as nothing was put into it


def configure_logging(
    level: Level = "info",
    format: Format | None = None,  # noqa: A002  # the key's name
    *,
    stream: TextIO | None = None,
) -> None:
    """Send everything to ``stream`` (stderr); ``format`` None: console on a terminal, else json. Repeatable."""
    stream = stream or sys.stderr
    is_console = format == "console" or (format is None and stream.isatty())
    logging.raiseExceptions = False  # stdlib shows a record that it cannot format, arguments and all
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(is_console=is_console, has_colors=is_console and stream.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # modules bind at import; a reload must reach them
    )
    _set_hooks()


def set_level(level: Level) -> None:
    """Change the level of every logger (SIGHUP)."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(number)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def describe_error(error: BaseException) -> tuple[str, list[str]]:
    """An exception's class, with causes or members, and the places it passed: no word of its message."""
    return _name(error, depth=0), _places(error.__traceback__)


def _name(error: BaseException, *, depth: int) -> str:
    name = type(error).__name__
    if depth >= _MAX_DEPTH:
        return name
    if isinstance(error, BaseExceptionGroup):
        return f"{name}({', '.join(_name(member, depth=depth + 1) for member in error.exceptions[:5])})"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{name} from {_name(cause, depth=depth + 1)}" if cause is not None else name


def _places(trace: TracebackType | None) -> list[str]:
    places: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{_short(code.co_filename)}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[-_MAX_PLACES:]


def _short(file: str) -> str:
    """The file as seen from where packages stand, so that no log tells a machine's folders."""
    for folder in sorted(filter(None, sys.path), key=len, reverse=True):
        if file.startswith(folder.rstrip(os.sep) + os.sep):
            return file[len(folder.rstrip(os.sep)) + 1 :]
    return PurePath(file).name


def _formatter(*, is_console: bool, has_colors: bool) -> structlog.stdlib.ProcessorFormatter:
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=has_colors, exception_formatter=structlog.dev.plain_traceback)
        if is_console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_keep_constant, *_shared()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        pass_foreign_args=True,
    )


def _shared() -> list[structlog.typing.Processor]:
    return [
        structlog.stdlib.add_log_level,
        _add_logger,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _describe_exception,
        redact,
    ]


def _add_logger(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    event["logger"] = record.name if record is not None else getattr(logger, "name", "")
    return event


def _keep_constant(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Rule 2."""
    record: logging.LogRecord = event["_record"]
    has_arguments = bool(event.pop("positional_args", None))
    template = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    if record.name == "aiohttp.server" and template.startswith(_SAFE_PREFIX):
        return event
    first = template.split("\n", 1)[0] if has_arguments else _first_match(template)
    event["event"] = first.strip() or record.name
    return event


def _first_match(text: str) -> str:
    match = _CONSTANT.match(text)
    return match[0] if match else ""


def _describe_exception(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Rule 1."""
    given = event.pop("exc_info", None)
    event.pop("stack_info", None)  # frames are code, but nobody needs them
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        name, places = describe_error(error)
        event.setdefault("error", name)
        event.setdefault("at", places)
    return event


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Rules 3 and 4, for every value of an event; structlog's own keys (``_…``) pass."""
    for key, value in event.items():
        if not key.startswith("_"):
            is_named = key in _NAMES and isinstance(value, str)
            event[key] = "(redacted)" if is_named else _clean(value, depth=0)
    return event


def _clean(value: object, *, depth: int) -> Any:
    if value is None or isinstance(value, (bool, float)) or type(value) is int:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (str, PurePath, UUID)):
        return clean_text(str(value))
    if isinstance(value, BaseException):
        return _name(value, depth=0)
    if isinstance(value, (Mapping, list, tuple, set, frozenset)) and depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            return {clean_text(str(key)): _clean(item, depth=depth + 1) for key, item in value.items()}
        return [_clean(item, depth=depth + 1) for item in value]
    return f"<{type(value).__name__}>"


def clean_text(text: str) -> str:
    """The text without what looks like a secret, on one line, cut at 2048 characters."""
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"


def _set_hooks() -> None:
    """What nobody caught is told like everything else: Python's own way prints messages and lines."""
    log = structlog.get_logger("secretd")

    def tell(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        name, places = describe_error(error) if error is not None else (kind.__name__, _places(trace))
        log.critical("uncaught", error=name, at=places)

    def tell_unraisable(found: UnraisableHookArgs) -> None:
        tell(found.exc_type, found.exc_value, found.exc_traceback)

    def tell_thread(found: threading.ExceptHookArgs) -> None:
        tell(found.exc_type, found.exc_value, found.exc_traceback)

    sys.excepthook = tell
    sys.unraisablehook = tell_unraisable
    threading.excepthook = tell_thread
