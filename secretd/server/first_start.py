"""What an empty store gets without a human: dev mode's open door, or ``[seal] init = "auto"``."""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from pathlib import Path

import structlog

from secretd.core.mounts.model import MountConfig
from secretd.sdk.errors import ConfigError, InvalidRequestError
from secretd.server.build import Core
from secretd.server.options import ServerOptions

log = structlog.get_logger()
_ROOT_TTL = 3600  # seconds: a root token that a file holds is for the first hour


async def initialise(core: Core, token_file: Path) -> None:
    """Initialise an empty store and leave a root token for an hour in a new file, mode 0600.

    The file is made first: a token that cannot be written must not be the only one there is.
    """
    lifecycle = core.parts.lifecycle
    if await lifecycle.is_initialized():
        return
    try:
        descriptor = os.open(
            token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        reason = (error.strerror or "failed").lower()
        raise ConfigError(
            f"seal.root_token_file cannot be made: {reason}",
            hint="its folder must exist and the file must not",
        ) from None
    with os.fdopen(descriptor, "w") as file:
        try:
            made = await lifecycle.initialise(1, 1, root_ttl=_ROOT_TTL)
        except InvalidRequestError:  # another daemon was first
            token_file.unlink()
            return
        file.write(made.root_token + "\n")
        file.flush()
        os.fsync(file.fileno())
    log.warning(
        "store.initialised_unattended", root_token_file=str(token_file), ttl=_ROOT_TTL,
        hint="make an operator's login with this token, then remove the file; the recovery shares were not kept",
    )  # fmt: skip


async def open_dev(core: Core, options: ServerOptions, *, address: str) -> None:
    """Dev mode: initialised, unsealed with one share, KV v2 at ``secret/``, all of it told on the terminal."""
    lifecycle = core.parts.lifecycle
    if await lifecycle.is_initialized():
        raise ConfigError(
            "the folder or database holds a store already",
            hint="dev mode begins with an empty one: give another --data or --storage, or none",
        )
    root = options.dev_root_token_id.reveal() if options.dev_root_token_id else ""
    made = await lifecycle.initialise(1, 1, root_token=root)
    await lifecycle.unseal(made.shares[0])
    options_v2 = MountConfig(description="key/value secret storage", options={"version": "2"})
    await core.parts.mounts.enable("secret", "secret/", "kv", options_v2)
    await core.parts.caches.refresh()
    sys.stdout.write(
        "secretd in dev mode: everything is in the open and nothing is kept. Never use it for real secrets.\n\n"
        f"  export VAULT_ADDR={address}\n"
        f"  Unseal key: {b64encode(made.shares[0]).decode()}\n"
        f"  Root token: {made.root_token}\n\n"
    )
    sys.stdout.flush()
