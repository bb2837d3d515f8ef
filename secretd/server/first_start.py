"""What an empty store gets without a human: dev mode's open door, or ``[seal] init = "auto"``."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from base64 import b64encode
from pathlib import Path

import structlog

from secretd.core.mounts.model import MountConfig
from secretd.crypto.digest import random_token
from secretd.sdk.errors import ConfigError, InvalidRequestError
from secretd.sdk.fields import Sensitive
from secretd.server.build import Core
from secretd.server.options import ServerOptions

log = structlog.get_logger()
_ROOT_TTL = 3600  # seconds: a root token that a file holds is for the first hour
_NO_TRICKS = os.O_NOFOLLOW | os.O_CLOEXEC
_TOKEN = re.compile(r"hvs\.[A-Za-z0-9]{24}\n")


async def initialise(core: Core, token_file: Path) -> None:
    """Initialise an empty store and leave a root token for an hour in a file, mode 0600.

    1. the token is in the file, and on disk, before the store knows it: a kill in between loses nobody's way in
    2. a file that such a kill left is taken as it is, so that the next start needs no human
    3. another daemon may be first: then our own file goes, one that was there before stays
    """
    lifecycle = core.parts.lifecycle
    if await lifecycle.is_initialized():
        return
    token = _write_token(token_file)  # (1)
    is_left_over = token is None
    if token is None:
        token = _read_token(token_file)  # (2)
    try:
        await lifecycle.initialise(1, 1, root_ttl=_ROOT_TTL, root_token=token.reveal())
    except InvalidRequestError:  # (3)
        if not is_left_over:
            token_file.unlink()
        return
    log.warning(
        "store.initialised_unattended", root_token_file=str(token_file), ttl=_ROOT_TTL,
        hint="make an operator's login with this token, then remove the file; the recovery shares were not kept",
    )  # fmt: skip


def _write_token(file: Path) -> Sensitive | None:
    """A new token in a new file; None if there is a file."""
    token = random_token("hvs.", 24)
    try:
        with os.fdopen(
            os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_TRICKS, 0o600), "w"
        ) as opened:
            opened.write(token + "\n")
            opened.flush()
            os.fsync(opened.fileno())
    except FileExistsError:
        return None
    except OSError as error:
        raise _unusable(error) from None
    return Sensitive(token)


def _read_token(file: Path) -> Sensitive:
    """The token of a first start that was killed: only from a file that is ours alone and holds nothing else."""
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | _NO_TRICKS)) as opened:
            found = os.fstat(opened.fileno())
            is_ours = (
                stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
            )
            text = opened.read(64) if is_ours else ""
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(error) from None
    if not _TOKEN.fullmatch(text):
        raise _unusable(FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)))
    return Sensitive(text.strip())


def _unusable(error: Exception) -> ConfigError:
    reason = (getattr(error, "strerror", None) or "failed").lower()
    return ConfigError(
        f"seal.root_token_file cannot be made: {reason}", hint="its folder must exist and the file must not"
    )


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
