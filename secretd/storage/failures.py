"""A driver's failure becomes one of ours here, by SQLSTATE; no driver text gets out.

A driver's message may quote a row ("Key (key)=(…) already exists"), so nothing of it is kept, not
even as ``__cause__``: raise the result of :func:`translate` ``from None``.
"""

from __future__ import annotations

from secretd.sdk.errors import (
    ConflictError,
    InvalidRequestError,
    SecretdError,
    StorageConflictError,
    StorageUnavailableError,
)

_RETRYABLE = frozenset({"40001", "40P01", "55P03"})  # serialisation, deadlock, lock_timeout
_SLOW = frozenset({"57014", "25P03", "25P04"})  # statement and transaction time-outs
_READ_ONLY = "25006"  # a primary that became a standby: another connection may find the new one
_LOGIN = frozenset({"28000", "28P01", "3D000"})
# A value out of its type's range, or too long for an index.
_VALUES = frozenset({"22000", "22001", "22003", "22008", "54000"})
_FATAL_CLASSES = frozenset({"08", "53", "57", "58", "XX"})


class UniqueViolationError(ConflictError):
    """a row with this key is already stored"""

    code = "already_stored"
    constraint: str | None = None  # its name in the schema, never a value


class ReferenceViolationError(ConflictError):
    """a row that this one needs is gone, or one that needs it is still there"""

    code = "reference_missing"
    constraint: str | None = None


def sqlstate_of(error: BaseException) -> str | None:
    """The five characters that Postgres answered, or None when it was not Postgres that failed."""
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def is_login_refused(error: BaseException) -> bool:
    """Whether waiting cannot help: role, password or database are wrong."""
    return sqlstate_of(error) in _LOGIN


def is_poisoned(error: BaseException) -> bool:
    """Whether the connection that failed so must not be used again (any doubt says yes)."""
    state = sqlstate_of(error)
    if state is None:
        return not isinstance(error, ValueError)  # an argument that could not be encoded was never sent
    if state == "57014":
        return False  # a cancelled statement leaves a healthy session
    return state == _READ_ONLY or state in _SLOW or state[:2] in _FATAL_CLASSES


def translate(error: BaseException, *, query: str) -> SecretdError:
    """Our error for a driver's. ``query`` is the query's name; it and the SQLSTATE may be shown."""
    if isinstance(error, SecretdError):
        return error
    state = sqlstate_of(error)
    if state is None:
        return _translate_local(error, query=query)
    if state in _RETRYABLE:
        return StorageConflictError()
    if state in ("23505", "23503"):
        kind = UniqueViolationError if state == "23505" else ReferenceViolationError
        conflict = kind()
        conflict.constraint = getattr(error, "constraint_name", None)
        return conflict
    if state in ("22021", "22P05"):  # NUL and the like
        return InvalidRequestError("the text holds a character that storage cannot keep")
    if state in _VALUES:
        return InvalidRequestError(f"storage cannot hold a value of this request (SQLSTATE {state})")
    if state in _SLOW:
        return StorageUnavailableError("storage took too long")
    if state[:2] in _FATAL_CLASSES or state == _READ_ONLY:
        return StorageUnavailableError()
    return StorageUnavailableError(f"storage could not run {query} (SQLSTATE {state})")


def _translate_local(error: BaseException, *, query: str) -> SecretdError:
    if isinstance(error, TimeoutError):
        return StorageUnavailableError("storage took too long")
    if isinstance(error, ValueError):  # the driver's DataError, whose text quotes the argument
        return SecretdError(f"an argument of {query} has the wrong type")
    return StorageUnavailableError()
