"""How a failure reads: what happened, why, what to type next. And the exit code it gives.

0 fine; 1 wrong usage or local trouble; 2 the server said no or is out of reach.
"""

from __future__ import annotations

import re
import sys

import click

from secretd.client.errors import RefusedError, UnreachableError
from secretd.sdk.errors import SecretdError

EXIT_LOCAL = 1
EXIT_SERVER = 2
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NEXT_BY_STATUS = {
    403: "log in with a token that may: `secretd login`; see your rights: `secretd token capabilities PATH`",
    404: "see what is there: `secretd list PATH`, `secretd secrets list`",
    405: "see what the path can do: `secretd path-help PATH`",
    429: "wait a little and try again",
    503: "look at the server: `secretd status`",
}


class LocalError(SecretdError):
    """the command cannot be carried out here"""

    code = "local"


class ServerSaidNoError(SecretdError):
    """the server's answer is a no, though not an error: sealed, nothing there, not initialised"""

    code = "server_no"


def make_printable(text: str) -> str:
    """Show control characters as escapes, so that a stored value cannot drive the terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def report(error: SecretdError | click.ClickException) -> int:
    """Write the error to stderr and return the exit code."""
    if isinstance(error, click.ClickException):
        lines, code = _usage_lines(error), EXIT_LOCAL
    else:
        lines, code = _lines(error), _exit_code(error)
    click.echo("\n".join(make_printable(line) for line in lines), file=sys.stderr)
    return code


def _exit_code(error: SecretdError) -> int:
    refusals = (RefusedError, UnreachableError, ServerSaidNoError)
    return EXIT_SERVER if isinstance(error, refusals) else EXIT_LOCAL


def _lines(error: SecretdError) -> list[str]:
    lines = [f"Error: {error.message}"]
    lines += [f"  why:  {reason}" for reason in _reasons(error)]
    hint = error.hint
    if hint is None and isinstance(error, RefusedError):
        hint = _NEXT_BY_STATUS.get(error.status)
    return [*lines, f"  next: {hint}"] if hint else lines


def _reasons(error: SecretdError) -> list[str]:
    if isinstance(error, RefusedError):
        warnings = error.answer.body.get("warnings")
        said = [line for reason in error.reasons for line in _sentences(reason)]
        said += list(map(str, warnings)) if isinstance(warnings, list) else []
        return said or (["nothing is stored there"] if error.status == 404 else [])
    reason = getattr(error, "reason", "")
    return [str(reason)] if reason else []


def _sentences(reason: str) -> list[str]:
    """Undo Go's bundling of several errors: a count, then bullets."""
    lines = [line.strip().removeprefix("* ") for line in reason.splitlines()]
    return [line for line in lines if line and not line.endswith(("error occurred:", "errors occurred:"))]


def _usage_lines(error: click.ClickException) -> list[str]:
    lines = [f"Error: {error.format_message()}"]
    context = getattr(error, "ctx", None)
    if isinstance(context, click.Context):
        lines.append(f"  next: {context.command_path} --help")
    return lines
