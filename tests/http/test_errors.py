"""Properties of the error table."""

from __future__ import annotations

import inspect
import json

import pytest
from aiohttp import web

from secretd.http.errors import STATUSES, error_answer, is_internal, status_of
from secretd.http.paths import RedirectError
from secretd.sdk import errors as e

EXPECTED = {
    e.SecretdError: 500,
    e.InvalidRequestError: 400,
    e.UnsupportedPathError: 404,
    e.UnsupportedOperationError: 405,
    e.NotFoundError: 404,
    e.NoHandlerError: 404,
    e.PermissionDeniedError: 403,
    e.ConflictError: 409,
    e.TooLargeError: 413,
    e.UnsupportedMediaError: 415,
    e.RateLimitedError: 429,
    e.UnavailableError: 503,
    e.SealedError: 503,
    e.NotInitializedError: 503,
    e.StorageUnavailableError: 503,
    e.StorageConflictError: 503,
    e.AuditError: 503,
    e.ClockError: 503,
    e.TargetError: 500,
    e.TargetUnavailableError: 500,
    e.TargetAuthError: 500,
    e.PluginError: 500,
    e.BarrierError: 500,
    e.ConfigError: 500,
}
CLASSES = [kind for _, kind in inspect.getmembers(e, inspect.isclass) if issubclass(kind, e.SecretdError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_class_is_mapped(kind: type[e.SecretdError]) -> None:
    """Each class of the error tree has the status written down for it, by a row below SecretdError's."""
    error = kind()
    assert status_of(error) == EXPECTED[kind]
    row = next(base for base in kind.__mro__ if base in STATUSES)
    assert row is not e.SecretdError or kind is e.SecretdError


def test_the_body_is_vaults_and_more() -> None:
    """An error has Vault's errors list and our request id, code and hint, as exact application/json."""
    answer = error_answer(e.SealedError(), request_id="r-1")
    assert json.loads(answer.body) == {
        "errors": ["Vault is sealed"],
        "request_id": "r-1",
        "code": "sealed",
        "hint": e.SealedError.hint,
    }
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (e.RateLimitedError(), "1"),
        (e.AuditError(retry_after=2.2), "3"),
        (e.StorageUnavailableError(retry_after=0.1), "1"),
    ],
)
def test_429_and_503_say_when_to_come_back(error: e.SecretdError, seconds: str) -> None:
    """Retry-After is whole seconds, at least one."""
    assert error_answer(error).headers["Retry-After"] == seconds


def test_every_unavailability_says_when_to_come_back() -> None:
    """Each class that becomes 429 or 503 carries Retry-After by default."""
    for kind in CLASSES:
        answer = error_answer(kind())
        assert answer.status not in {429, 503} or "Retry-After" in answer.headers, kind


def test_nothing_here_is_an_empty_list() -> None:
    """A bare NotFoundError is 404 with an empty errors list; one that says more keeps its words."""
    assert json.loads(error_answer(e.NotFoundError()).body)["errors"] == []
    assert json.loads(error_answer(e.NotFoundError("no such lease")).body)["errors"] == ["no such lease"]
    assert json.loads(error_answer(e.NoHandlerError()).body)["errors"] == ["no handler for route"]


@pytest.mark.parametrize(
    "error",
    [ValueError("canary"), KeyError("canary"), e.BarrierError("canary"), e.ConfigError("a", hint="b"),
     e.SecretdError("canary"), TimeoutError("canary")],
)  # fmt: skip
def test_inner_trouble_tells_nothing(error: Exception) -> None:
    """What is not meant for callers is `internal error`, without message or hint."""
    answer = error_answer(error)
    assert answer.status == 500
    assert json.loads(answer.body) == {"errors": ["internal error"], "code": "internal"}
    assert is_internal(error)


def test_a_redirect_carries_its_location() -> None:
    """The redirect of a path with empty segments is a 307 with the clean location."""
    answer = error_answer(RedirectError("/v1/a?b=c"))
    assert (answer.status, answer.headers["Location"]) == (307, "/v1/a?b=c")


def test_aiohttps_own_refusals_keep_their_status() -> None:
    """An aiohttp exception keeps its status and gets the common shape."""
    assert json.loads(error_answer(web.HTTPNotFound()).body)["errors"] == []
    refused = error_answer(web.HTTPMethodNotAllowed("GET", ["POST"]))
    assert (refused.status, json.loads(refused.body)["errors"]) == (405, ["method not allowed"])
