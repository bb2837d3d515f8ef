"""What the environment says: address, token, CA, namespace. Flags go before it, defaults come last.

The first variable that is set and not empty wins; the token's last source is ``~/.vault-token``.
"""

from __future__ import annotations

import os
from pathlib import Path

from secretd.cli.errors import LocalError
from secretd.client.http import Access
from secretd.sdk.fields import Sensitive

DEFAULT_ADDRESS = "https://127.0.0.1:8200"
TOKEN_NAMES = ("SECRETD_TOKEN", "VAULT_TOKEN", "BAO_TOKEN")
_ADDRESS_NAMES = ("SECRETD_ADDR", "VAULT_ADDR", "BAO_ADDR")
_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "f", "false", "no", "off"})


def find_variable(*names: str) -> tuple[str, str]:
    """Return name and value of the first variable that is set and not empty, or two empty strings."""
    for name in names:
        if value := os.environ.get(name, "").strip():
            return name, value
    return "", ""


def token_file() -> Path:
    """Where ``login`` keeps the token; Vault's name, so that other clients find it."""
    return Path.home() / ".vault-token"


def find_token() -> Sensitive | None:
    """Return the token of the environment or of the token file; raise LocalError if that is unreadable."""
    _, value = find_variable(*TOKEN_NAMES)
    if value:
        return Sensitive(value)
    try:
        text = token_file().read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError):
        raise LocalError(
            "the stored token cannot be read", hint="log in again: `secretd login`, or set SECRETD_TOKEN"
        ) from None
    return Sensitive(text) if text else None


def _find_skip_verify() -> bool:
    name, value = find_variable("SECRETD_SKIP_VERIFY", "VAULT_SKIP_VERIFY")
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    # Guessing "false" would be safe, but a typo should not look like a certificate fault.
    raise LocalError(f"{name} is neither true nor false", hint=f"write {name}=true or unset it")


def make_access(
    *,
    address: str | None = None,
    token: Sensitive | None = None,
    ca_cert: Path | None = None,
    skip_verify: bool | None = None,
    namespace: str | None = None,
    wrap_ttl: str | None = None,
    is_anonymous: bool = False,
) -> Access:
    """Join the flags given here with the environment; raise LocalError for an impossible value.

    ``is_anonymous`` looks for no token: a login needs none, and must work where the kept one is broken.
    """
    found_ca = find_variable("SECRETD_CACERT", "VAULT_CACERT")[1]
    return Access(
        address=address or find_variable(*_ADDRESS_NAMES)[1] or DEFAULT_ADDRESS,
        token=None if is_anonymous else token or find_token(),
        ca_cert=ca_cert or (Path(found_ca) if found_ca else None),
        skip_verify=skip_verify if skip_verify is not None else _find_skip_verify(),
        namespace=namespace
        if namespace is not None
        else find_variable("SECRETD_NAMESPACE", "VAULT_NAMESPACE")[1],
        wrap_ttl=wrap_ttl or "",
    )
