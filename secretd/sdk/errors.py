"""One error tree. The docstring is the default message; a hint says what to do next.

Statuses live in ``http/errors.py``, found by walking an error's MRO. Messages never hold a value
that a caller sent or a target answered: they name the field, the object and the reason.
"""

from __future__ import annotations


class SecretdError(Exception):
    """secretd could not do this"""

    code = "internal"  # stable, machine-readable; part of the wire
    hint: str | None = None
    retry_after: float | None = None  # seconds

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        if hint is not None:
            self.hint = hint
        if retry_after is not None:
            self.retry_after = retry_after

    @property
    def message(self) -> str:
        """The sentence for the wire and the log."""
        return str(self.args[0])


class InvalidRequestError(SecretdError):
    """the request is invalid"""

    code = "invalid_request"


class UnsupportedOperationError(SecretdError):
    """unsupported operation"""

    code = "unsupported_operation"


class NotFoundError(SecretdError):
    """nothing is stored here"""

    code = "not_found"


class NoHandlerError(NotFoundError):
    """no handler for route"""

    code = "no_handler"


class UnsupportedPathError(NotFoundError):
    """unsupported path"""

    code = "unsupported_path"


class PermissionDeniedError(SecretdError):
    """permission denied"""

    code = "permission_denied"


class ConflictError(SecretdError):
    """the object was changed by somebody else meanwhile"""

    code = "conflict"


class TooLargeError(SecretdError):
    """the request is too large"""

    code = "too_large"


class UnsupportedMediaError(SecretdError):
    """this content encoding is not supported"""

    code = "unsupported_media"


class RateLimitedError(SecretdError):
    """a quota is exhausted"""

    code = "rate_limited"
    retry_after: float | None = 1.0


class UnavailableError(SecretdError):
    """secretd cannot answer now"""

    code = "unavailable"
    retry_after: float | None = 1.0


class SealedError(UnavailableError):
    """Vault is sealed"""

    code = "sealed"
    hint = "unseal it: `secretd operator unseal`"


class NotInitializedError(UnavailableError):
    """server is not yet initialized"""

    code = "not_initialized"
    hint = "initialise it: `secretd operator init`"


class StorageUnavailableError(UnavailableError):
    """storage is out of reach"""

    code = "storage_unavailable"


class StorageConflictError(StorageUnavailableError):
    """storage could not serialise this with other work"""

    code = "storage_conflict"


class AuditError(UnavailableError):
    """no required audit device could record the request"""

    code = "audit_unavailable"


class ClockError(UnavailableError):
    """the deadline passed before the work was done"""

    code = "deadline"


class TargetError(SecretdError):
    """the target refused"""

    code = "target_refused"


class TargetUnavailableError(TargetError):
    """the target is out of reach"""

    code = "target_unavailable"
    retry_after: float | None = 2.0


class TargetAuthError(TargetError):
    """the target refused the admin's login"""

    code = "target_login_refused"


class PluginError(TargetError):
    """the plugin failed"""

    code = "plugin_failed"
    retry_after: float | None = 1.0


class BarrierError(SecretdError):
    """a stored value could not be decrypted"""

    code = "barrier"


class ConfigError(SecretdError):
    """the configuration is invalid"""

    code = "config"
