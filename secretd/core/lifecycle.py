"""From an empty store to an open barrier and back: init, unseal, seal.

1. init writes everything in one transaction: seal record, keyring, keys, policies, mounts, root token. Two
   daemons that initialise at once cannot both win: the second insert of the seal record finds the first.
2. A Shamir seal opens when enough shares combine to the unseal key; a wrong set is noticed by the root key's tag.
3. A static seal opens by itself at start and whenever the daemon finds itself sealed by nobody.
4. Sealing forgets the keys of this process. A storage error never seals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import structlog

from secretd.core.keys import Keys
from secretd.crypto import seal as seals
from secretd.crypto.digest import random_token
from secretd.crypto.seal import RecoveryConfig, SealConfig, StaticSeal, UnsealProgress
from secretd.sdk.errors import (
    BarrierError,
    ConfigError,
    InvalidRequestError,
    NotInitializedError,
    SecretdError,
)
from secretd.sdk.storage import encode
from secretd.storage.barrier import Barrier
from secretd.storage.pool import Pool, Runner
from secretd.storage.tokens import Tokens
from secretd.storage.view import EntryView

log = structlog.get_logger()
_SEAL = "seal"


class SealRecord(msgspec.Struct):
    """What a sealed daemon reads: the seal's configuration and the wrapped root key."""

    config: SealConfig
    root_key: bytes


@dataclass(slots=True, frozen=True)
class SealStatus:
    """What ``sys/seal-status`` tells."""

    type: str
    is_initialized: bool
    is_sealed: bool
    threshold: int
    shares: int
    progress: int
    nonce: str


@dataclass(slots=True, frozen=True)
class Initialised:
    """What init gives out, once: shares (of the unseal key, or recovery shares) and the root token."""

    shares: list[bytes]
    are_recovery: bool
    root_token: str


CreateDefaults = Callable[[Runner], Awaitable[None]]
Hook = Callable[[], Awaitable[None]]


class Lifecycle:
    """The state of this process: uninitialised, sealed, or open."""

    def __init__(
        self,
        *,
        pool: Pool,
        barrier: Barrier,
        keys: Keys,
        tokens: Tokens,
        static: StaticSeal | None,
        create_defaults: CreateDefaults,
    ) -> None:
        self._pool = pool
        self._barrier = barrier
        self._keys = keys
        self._tokens = tokens
        self._static = static
        self._create_defaults = create_defaults
        self._progress: UnsealProgress | None = None
        self._lock = asyncio.Lock()
        self._on_open: list[Hook] = []
        self._on_close: list[Callable[[], None]] = []
        self._is_held = False  # an operator sealed this process: it does not open itself

    def when_opened(self, hook: Hook) -> None:
        """Run this each time the keys have been loaded, before requests are taken."""
        self._on_open.append(hook)

    def when_sealed(self, hook: Callable[[], None]) -> None:
        """Run this each time the keys are forgotten."""
        self._on_close.append(hook)

    @property
    def is_open(self) -> bool:
        """Whether requests can be served."""
        return self._barrier.is_open

    async def status(self) -> SealStatus:
        """Where we stand; asks storage only while not open."""
        record = await self._find_record()
        kind = "static" if self._static else "shamir"
        if record is None:
            return SealStatus(
                kind, is_initialized=False, is_sealed=True, threshold=0, shares=0, progress=0, nonce=""
            )
        config, progress = record.config, self._progress
        return SealStatus(
            config.type,
            is_initialized=True,
            is_sealed=not self.is_open,
            threshold=config.threshold,
            shares=config.shares,
            progress=progress.progress if progress and not self.is_open else 0,
            nonce=progress.nonce if progress and not self.is_open else "",
        )

    async def is_initialized(self) -> bool:
        """Whether the store is."""
        return self.is_open or await self._find_record() is not None

    async def initialise(
        self, shares: int, threshold: int, *, root_ttl: int = 0, root_token: str = ""
    ) -> Initialised:
        """Rule 1. With a static seal the shares are recovery shares, and the daemon is open afterwards."""
        async with self._lock:
            if await self._find_record() is not None:
                raise InvalidRequestError("Vault is already initialized")
            root_key = seals.generate_root_key()
            config, wrapped, given = self._wrap(root_key, shares, threshold)
            root_token = root_token or random_token("hvs.", 24)
            try:
                async with self._pool.transaction() as runner:
                    record = SealRecord(config, wrapped)
                    if not await runner.execute("insert_seal_record", _SEAL, encode(record)):
                        raise InvalidRequestError("Vault is already initialized")
                    recovery = await self._fill(runner, root_key, config, root_token, root_ttl)
            finally:
                self._close()
            log.info("store.initialised", seal=config.type)
            if self._static:
                await self._open(root_key)
            return Initialised(given or recovery, bool(self._static), root_token)

    def _wrap(self, root_key: bytes, shares: int, threshold: int) -> tuple[SealConfig, bytes, list[bytes]]:
        if self._static:
            config = SealConfig("static", shares, threshold, self._static.key_id)
            config.check()
            return config, self._static.wrap(root_key), []
        config = SealConfig("shamir", shares, threshold)
        config.check()
        wrapped, given = seals.create_shamir(root_key, shares, threshold)
        return config, wrapped, given

    async def _fill(
        self, runner: Runner, root_key: bytes, config: SealConfig, root_token: str, root_ttl: int
    ) -> list[bytes]:
        """Everything but the seal record; recovery shares if the seal is static."""
        await self._barrier.create(runner, root_key)
        keys = await self._keys.create(runner)
        await self._create_defaults(runner)
        token_id = keys.hash_token(root_token)
        accessor = random_token("", 24)
        await self._tokens.insert_root(runner, token_id, accessor, ttl=root_ttl, sign=keys.sign_grant)
        if not self._static:
            return []
        recovery, parts = RecoveryConfig.create(config.shares, config.threshold)
        await EntryView(runner, self._barrier, prefix="core/").put("recovery", encode(recovery), version=0)
        return parts

    async def unseal(self, share: bytes) -> None:
        """Take one share (rule 2)."""
        async with self._lock:
            record = await self._find_record()
            if record is None:
                raise NotInitializedError
            if self.is_open:
                return
            if record.config.type == "static":
                raise InvalidRequestError(
                    "this store opens with the static key of its configuration, not with shares"
                )
            if self._progress is None:
                self._progress = UnsealProgress(record.config.shares, record.config.threshold)
            candidate = self._progress.submit(share)
            if candidate is None:
                return
            try:
                root_key = seals.unwrap_root_key(candidate, record.root_key, seal_type="shamir")
            except BarrierError:
                raise InvalidRequestError("unseal failed: these key shares do not open the store") from None
            await self._open(root_key)

    def reset_unseal(self) -> None:
        """Forget the shares given so far."""
        if self._progress:
            self._progress.reset()

    async def open_static(self) -> bool:
        """Rule 3; whether the barrier is open now. ConfigError if the key is not the one."""
        if self.is_open or self._static is None or self._is_held:
            return self.is_open
        async with self._lock:
            record = await self._find_record()
            if record is None or self.is_open:
                return self.is_open
            if record.config.type != "static":
                raise ConfigError(
                    "the store was initialised with seal type shamir, the configuration says static",
                    hint="set [seal] type to shamir and unseal with key shares",
                )
            try:
                root_key = self._static.unwrap(record.root_key, key_id=record.config.key_id)
            except BarrierError:
                raise ConfigError(
                    "[seal] key does not open the store",
                    hint=f"the store was sealed under key_id {record.config.key_id}: give that key",
                ) from None
            if self._static.needs_rewrap(record.config.key_id):
                await self._rewrap(record, root_key)
            await self._open(root_key)
            return True

    async def _rewrap(self, record: SealRecord, root_key: bytes) -> None:
        row = await self._pool.fetchrow("find_seal_record", _SEAL)
        if self._static is None or row is None:
            return
        config = msgspec.structs.replace(record.config, key_id=self._static.key_id)
        renewed = encode(SealRecord(config, self._static.wrap(root_key)))
        await self._pool.execute("update_seal_record", _SEAL, renewed, row["version"])
        log.info("seal.rewrapped", key_id=self._static.key_id)

    async def seal(self) -> None:
        """Rule 4, by an operator: this process stays sealed until it is unsealed or started again."""
        async with self._lock:
            self._is_held = True
            self._close()
            log.info("barrier.sealed")

    async def _open(self, root_key: bytes) -> None:
        try:
            await self._barrier.open(root_key)
            await self._keys.load()
            for hook in self._on_open:
                await hook()
        except SecretdError:
            self._close()
            raise
        self._progress = None
        self._is_held = False
        log.info("barrier.opened")

    def _close(self) -> None:
        self._barrier.close()
        self._keys.forget()
        for hook in self._on_close:
            hook()

    async def _find_record(self) -> SealRecord | None:
        row = await self._pool.fetchrow("find_seal_record", _SEAL)
        return None if row is None else msgspec.msgpack.decode(row["value"], type=SealRecord)
