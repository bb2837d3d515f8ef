"""What can go wrong between a client and its server. None of these holds the token or a sent body."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import TYPE_CHECKING

from secretd.sdk.errors import SecretdError

if TYPE_CHECKING:
    from secretd.client.http import Answer


class AccessError(SecretdError):
    """the server cannot be addressed"""

    code = "access"


class UnreachableError(SecretdError):
    """the server is out of reach"""

    code = "unreachable"

    def __init__(self, message: str, *, reason: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class RefusedError(SecretdError):
    """the server refused the request"""

    code = "refused"

    def __init__(self, *, method: str, path: str, answer: Answer) -> None:
        hint = answer.body.get("hint")
        super().__init__(
            f"the server refused {method} {path} ({answer.status})",
            hint=hint if isinstance(hint, str) else None,
        )
        self.method = method
        self.path = path
        self.answer = answer

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.answer.status

    @property
    def reasons(self) -> list[str]:
        """The server's own sentences, without blank ones; a LIST of nothing has none."""
        errors = self.answer.body.get("errors")
        return [str(item).strip() for item in errors if str(item).strip()] if isinstance(errors, list) else []


def make_unreachable(address: str, error: Exception) -> UnreachableError:
    """Explain a failure of the connection in words, without the exception's own text."""
    reason, hint = _explain(error)
    return UnreachableError(f"no answer from {address}", reason=reason, hint=hint)


def _explain(error: Exception) -> tuple[str, str]:
    """Return why and what to do; exception texts of ssl and socket hold no value of ours."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted: {error.verify_message}"
        return why, "name its CA: `--ca-cert FILE` or SECRETD_CACERT"
    if isinstance(error, ssl.SSLError):
        plain = "WRONG_VERSION_NUMBER" in str(error) or "RECORD_LAYER" in str(error)
        return "the TLS handshake failed", (
            "it seems to speak plain HTTP: write the address with http://"
            if plain
            else "check the address and the server's TLS settings"
        )
    if isinstance(error, TimeoutError):
        return "it took too long", "is the server busy or its storage down? ask it: `secretd status`"
    if isinstance(error, socket.gaierror):
        return "its host name is unknown", "check the address: SECRETD_ADDR, VAULT_ADDR or --address"
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return "nothing listens there", (
            "start a server (`secretd server --dev`) or set SECRETD_ADDR to the one you mean"
        )
    if isinstance(error, http.client.HTTPException | ConnectionError):
        return "it closed the connection without an answer", "is the address right? http:// or https://?"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__, (
        "check the address and the network"
    )
