"""From an empty store to an open one and back, as operators see it; and who answers here.

What is asked while sealed answers bare, without envelope, token or audit. Everything here is fast: health never
waits for storage while the barrier is open.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any

import msgspec

from secretd.core.lifecycle import SealStatus
from secretd.core.parts import Parts
from secretd.crypto.keyring import ROTATE_AFTER
from secretd.sdk.clock import rfc3339
from secretd.sdk.errors import InvalidRequestError, NotInitializedError, SealedError
from secretd.sdk.fields import Sensitive, Strings
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import READ, UPDATE, Call
from secretd.sdk.response import Response


class InitFields(msgspec.Struct):
    """How many shares, and how many of them open the store."""

    secret_shares: int = 0
    secret_threshold: int = 0
    recovery_shares: int = 0
    recovery_threshold: int = 0
    stored_shares: int = 0
    pgp_keys: Strings | None = None
    recovery_pgp_keys: Strings | None = None
    root_token_pgp_key: str = ""


class UnsealFields(msgspec.Struct):
    """A key share in hex or base64, or the wish to begin again."""

    key: Sensitive | None = None
    reset: bool = False
    migrate: bool = False


class HealthFields(msgspec.Struct):
    """Statuses that a load balancer wants instead of Vault's."""

    activecode: int = 200
    standbycode: int = 429
    performancestandbycode: int = 473
    drsecondarycode: int = 472
    sealedcode: int = 503
    uninitcode: int = 501
    standbyok: Any = None  # nobody stands by here: every daemon is active
    perfstandbyok: Any = None


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    seal, who, keys = Seal(parts), Who(parts), KeyTerms(parts)
    return (
        Path(READ, "init", Nothing, seal.is_initialized, while_sealed=True),
        Path(UPDATE, "init", InitFields, seal.initialise, while_sealed=True),
        Path(READ, "seal-status", Nothing, seal.status, while_sealed=True),
        Path(UPDATE, "unseal", UnsealFields, seal.unseal, while_sealed=True),
        Path(UPDATE, "seal", Nothing, seal.seal, sudo=True),
        Path(READ, "health", HealthFields, who.health, while_sealed=True),
        Path(READ, "leader", Nothing, who.leader, while_sealed=True),
        Path(READ, "ha-status", Nothing, who.nodes),
        Path(READ, "key-status", Nothing, keys.status),
        Path(UPDATE, "rotate", Nothing, keys.rotate, sudo=True),
        Path(UPDATE, "rotate/keyring", Nothing, keys.rotate, sudo=True),
        Path(READ, "rotate/config", Nothing, keys.config),
    )


class Seal:
    """Init, unseal, seal."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def is_initialized(self, call: Call, fields: Nothing) -> Response:
        """Whether the store is initialised."""
        return Response(body={"initialized": await self._parts.lifecycle.is_initialized()})

    async def initialise(self, call: Call, fields: InitFields) -> Response:
        """Initialise an empty store; the key shares and the root token are shown this once."""
        if fields.pgp_keys or fields.recovery_pgp_keys or fields.root_token_pgp_key:
            raise InvalidRequestError("PGP keys are not supported yet", hint="initialise without them")
        lifecycle = self._parts.lifecycle
        shares, threshold = fields.secret_shares, fields.secret_threshold
        if fields.recovery_shares or fields.recovery_threshold:
            # Taken silently they would leave their owner with another number of unseal shares than he thinks.
            if (await lifecycle.status()).type != "static":
                raise InvalidRequestError(
                    "recovery shares are not applicable to seal type shamir",
                    hint="say secret_shares and secret_threshold",
                )
            shares, threshold = fields.recovery_shares, fields.recovery_threshold
        made = await lifecycle.initialise(shares, threshold)
        as_hex = [share.hex() for share in made.shares]
        as_base64 = [base64.b64encode(share).decode() for share in made.shares]
        body: dict[str, Any] = {"keys": as_hex, "keys_base64": as_base64}
        if made.are_recovery:  # a static seal opens by its own key, so these open nothing
            body = {"keys": [], "keys_base64": [], "recovery_keys": as_hex, "recovery_keys_base64": as_base64}
        return Response(body={**body, "root_token": made.root_token})

    async def status(self, call: Call, fields: Nothing) -> Response:
        """Whether the daemon is sealed, and how far an unseal has come."""
        return Response(body=self._body(await self._parts.lifecycle.status()))

    async def unseal(self, call: Call, fields: UnsealFields) -> Response:
        """Give one key share, or forget those given so far."""
        lifecycle = self._parts.lifecycle
        if fields.reset:
            if lifecycle.is_open:
                raise InvalidRequestError("vault is unsealed")
            lifecycle.reset_unseal()
        elif not fields.key:
            raise InvalidRequestError(
                "'key' must be specified in request body as JSON, or 'reset' set to true"
            )
        elif fields.migrate:
            raise InvalidRequestError("seal migration is not supported yet")
        else:
            await lifecycle.unseal(_share(fields.key.reveal()))
        return Response(body=self._body(await lifecycle.status()))

    async def seal(self, call: Call, fields: Nothing) -> None:
        """Seal this daemon: it forgets its keys and stays sealed until it is unsealed."""
        await self._parts.lifecycle.seal()

    def _body(self, status: SealStatus) -> dict[str, Any]:
        about = self._parts.about
        body = {
            "type": status.type,
            "initialized": status.is_initialized,
            "sealed": status.is_sealed,
            "t": status.threshold,
            "n": status.shares,
            "progress": status.progress,
            "nonce": status.nonce,
            "version": about.version,
            "build_date": about.build_date,
            "migration": False,
            "recovery_seal": status.type == "static",
            "storage_type": "postgresql",
        }
        return body if status.is_sealed else {**body, **_cluster(self._parts)}


class Who:
    """Health, leader, nodes. Every daemon on the database is active: there is no leader to lose."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def health(self, call: Call, fields: HealthFields) -> Response:
        """Whether this daemon can serve: 200 active, 501 not initialised, 503 sealed; the codes can be chosen."""
        lifecycle, about = self._parts.lifecycle, self._parts.about
        is_open = lifecycle.is_open
        is_initialized = is_open or await lifecycle.is_initialized()
        status = fields.activecode if is_open else fields.sealedcode if is_initialized else fields.uninitcode
        mode = "disabled" if is_open else "unknown"
        body = {
            "initialized": is_initialized,
            "sealed": not is_open,
            "standby": not is_open,
            "performance_standby": False,
            "replication_performance_mode": mode,
            "replication_dr_mode": mode,
            "server_time_utc": int(self._parts.clock.now().timestamp()),
            "version": about.version,
            "enterprise": False,
            **(_cluster(self._parts) if is_open else {}),
        }
        if not 200 <= status <= 599:  # 1xx would leave the client waiting
            raise InvalidRequestError("a health code is an HTTP status from 200 to 599")
        return Response(status=status, body=body)

    async def leader(self, call: Call, fields: Nothing) -> Response:
        """Where requests go: here."""
        if not self._parts.lifecycle.is_open:
            raise SealedError if await self._parts.lifecycle.is_initialized() else NotInitializedError
        address = self._parts.about.api_address
        return Response(
            body={
                "ha_enabled": False,
                "is_self": True,
                "leader_address": address,
                "leader_cluster_address": "",
                "performance_standby": False,
                "performance_standby_last_remote_wal": 0,
            }
        )

    async def nodes(self, call: Call, fields: Nothing) -> Response:
        """The daemon that answers."""
        about = self._parts.about
        node = {
            "hostname": about.node,
            "api_address": about.api_address,
            "cluster_address": "",
            "active_node": True,
            "last_echo": None,
            "version": about.version,
        }
        return Response(data={"nodes": [node]}, spread=True)


class KeyTerms:
    """The terms of the barrier's keyring."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def status(self, call: Call, fields: Nothing) -> Response:
        """The term that encrypts now, since when, and how often it has."""
        active = self._parts.barrier.keyring.active
        install_time = rfc3339(datetime.fromtimestamp(active.install_time, UTC))
        data = {"term": active.term, "install_time": install_time, "encryptions": active.encryptions}
        return Response(data=data, spread=True)

    async def rotate(self, call: Call, fields: Nothing) -> None:
        """Begin a new term; what is stored stays readable."""
        await self._parts.barrier.rotate()

    async def config(self, call: Call, fields: Nothing) -> Response:
        """When a term rotates by itself: by its encryptions, never by time."""
        return Response(data={"enabled": True, "interval": 0, "max_operations": ROTATE_AFTER})


def _cluster(parts: Parts) -> dict[str, Any]:
    cluster_id = parts.about.cluster_id
    return {"cluster_name": f"secretd-cluster-{cluster_id[:8]}", "cluster_id": cluster_id}


def _share(text: str) -> bytes:
    """The bytes of a share as ``operator init`` showed it; hex is tried first, as in Vault."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        pass
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequestError("'key' must be a valid hex or base64 string") from None
