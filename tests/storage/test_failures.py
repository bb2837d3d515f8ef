"""What the driver's failures become."""

from __future__ import annotations

import pytest

from secretd.sdk.errors import (
    ConflictError,
    InvalidRequestError,
    SecretdError,
    StorageConflictError,
    StorageUnavailableError,
)
from secretd.storage.failures import ReferenceViolationError, UniqueViolationError, is_poisoned, translate


class AnsweredError(Exception):
    """An error as Postgres answers it; its text stands for a quoted row."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("Key (key)=(canary) already exists")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "kind", "poisoned"),
    [
        ("40001", StorageConflictError, False),
        ("40P01", StorageConflictError, False),
        ("55P03", StorageConflictError, False),
        ("23505", UniqueViolationError, False),
        ("23503", ReferenceViolationError, False),
        ("22021", InvalidRequestError, False),
        ("57014", StorageUnavailableError, False),
        ("25006", StorageUnavailableError, True),
        ("25P03", StorageUnavailableError, True),
        ("57P01", StorageUnavailableError, True),
        ("53300", StorageUnavailableError, True),
        ("08006", StorageUnavailableError, True),
        ("42P01", StorageUnavailableError, False),
    ],
)
def test_each_sqlstate_has_its_error(sqlstate: str, kind: type[SecretdError], *, poisoned: bool) -> None:
    """A SQLSTATE decides the error, its retry_after and whether the connection may be used again."""
    failure = translate(AnsweredError(sqlstate), query="read_entry")
    assert type(failure) is kind
    assert "canary" not in repr(failure)
    assert is_poisoned(AnsweredError(sqlstate)) is poisoned
    assert (failure.retry_after is not None) is isinstance(failure, StorageUnavailableError)


@pytest.mark.parametrize("error", [OSError("canary"), TimeoutError("canary"), ConnectionResetError("canary")])
def test_a_dead_network_is_storage_unavailable(error: Exception) -> None:
    """Failures below Postgres are StorageUnavailableError without their text, and the connection is lost."""
    failure = translate(error, query="read_entry")
    assert type(failure) is StorageUnavailableError
    assert is_poisoned(error)
    assert "canary" not in repr(failure)


def test_a_duplicate_is_a_conflict() -> None:
    """Callers that know nothing of keys may catch ConflictError."""
    assert issubclass(UniqueViolationError, ConflictError)
