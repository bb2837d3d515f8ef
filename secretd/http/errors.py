"""What an error looks like on the wire: one table of statuses, one shape of body.

A status is found by walking the error's MRO, so a new class is mapped by its parent until it gets a
row of its own. The message of a :class:`SecretdError` is for callers; of anything else, and of what
tells about our insides (barrier, configuration, a plain SecretdError), only ``internal error`` leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from aiohttp.web import HTTPException

from secretd.http.envelope import JSON_HEADERS
from secretd.http.paths import RedirectError
from secretd.sdk import errors as e

# Targets are 500, as in Vault and OpenBao: 502 to 504 would make clients and load balancers, which
# know 503 as "sealed or standby", turn away from a daemon that is well. Saving a connection that fails
# its check is the engine's InvalidRequestError (400), again as there.
STATUSES: Final[dict[type[BaseException], int]] = {
    RedirectError: 307,
    e.InvalidRequestError: 400,
    e.PermissionDeniedError: 403,
    e.NotFoundError: 404,
    e.UnsupportedPathError: 404,  # Vault's answer, although its parent is a 400
    e.UnsupportedOperationError: 405,
    e.ConflictError: 409,  # a lost race below the API; a wrong `cas` is InvalidRequestError, 400 as in Vault
    e.TooLargeError: 413,
    e.UnsupportedMediaError: 415,
    e.RateLimitedError: 429,
    e.UnavailableError: 503,
    e.TargetError: 500,
    e.BarrierError: 500,
    e.ConfigError: 500,
    e.SecretdError: 500,
    Exception: 500,
}
_SECRETIVE: Final = (e.BarrierError, e.ConfigError)
_NOTHING_HERE: Final = 404
_INTERNAL: Final = "internal error"


@dataclass(slots=True, frozen=True)
class ErrorAnswer:
    """An error ready to send; ``headers`` has the Content-Type."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, HTTPException):  # aiohttp's own: a route or method that it does not have
        return error.status
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def error_answer(error: BaseException, *, request_id: str = "") -> ErrorAnswer:
    """Translate an error; the answer holds nothing of it but message, code, hint and time to wait."""
    status = status_of(error)
    message, code, hint = _public(error, status)
    fields: dict[str, Any] = {"errors": [message] if message else []}
    if request_id:
        fields["request_id"] = request_id
    fields["code"] = code
    if hint:
        fields["hint"] = hint
    return ErrorAnswer(status, msgspec.json.encode(fields), _headers(error))


def is_internal(error: BaseException) -> bool:
    """Whether the answer says only ``internal error``, so that the log must say more."""
    return not isinstance(error, (e.SecretdError, HTTPException)) or _is_secretive(error)


def _is_secretive(error: BaseException) -> bool:
    return type(error) is e.SecretdError or isinstance(error, _SECRETIVE)


def _public(error: BaseException, status: int) -> tuple[str, str, str | None]:
    if isinstance(error, HTTPException):
        return ("" if status == _NOTHING_HERE else error.reason.lower()), "http", None
    if not isinstance(error, e.SecretdError) or _is_secretive(error):
        return _INTERNAL, "internal", None
    if type(error) is e.NotFoundError and error.message == e.NotFoundError.__doc__:
        return "", error.code, error.hint  # clients tell "nothing here" by the empty list
    return error.message, error.code, error.hint


def _headers(error: BaseException) -> dict[str, str]:
    headers = dict(JSON_HEADERS)
    if isinstance(error, e.SecretdError) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, RedirectError):
        headers["Location"] = error.location
    return headers
