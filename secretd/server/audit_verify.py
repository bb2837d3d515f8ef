"""``secretd audit verify FILE``: recompute the chain where the file lies.

The chain key is behind the barrier, so the barrier is opened here: by the static key of the configuration, or by
key shares typed in. Nothing is written, nothing is served, and no key leaves the process.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import getpass
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from secretd.core.audit.line import AuditHead
from secretd.core.audit.verify import Report, in_order, verify_files
from secretd.core.keys import Keys
from secretd.core.lifecycle import SealRecord
from secretd.crypto import seal as seals
from secretd.crypto.seal import StaticSeal, UnsealProgress
from secretd.sdk.clock import SystemClock
from secretd.sdk.errors import ConfigError, NotInitializedError
from secretd.server.config import load_config, load_storage, parse_storage, static_seal
from secretd.server.config_schema import Storage
from secretd.server.options import AuditVerifyOptions
from secretd.storage.barrier import Barrier
from secretd.storage.pool import Pool

_TAMPERED = 2


def main(options: AuditVerifyOptions) -> int:
    """Print what was found; 0 = intact, 2 = not."""
    return asyncio.run(_verify(options))


async def _verify(options: AuditVerifyOptions) -> int:
    storage, static = _sources(options)
    async with _open(storage) as pool:
        keys = Keys(pool, barrier := Barrier(pool, SystemClock()))
        await barrier.open(await _root_key(pool, static))
        await keys.load()
        rows = await pool.fetch("list_audit_heads", "")
        heads = [AuditHead(row[0], row[1], row[2], row[3], row[4]) for row in rows]
        report = await asyncio.to_thread(
            verify_files, in_order(_rotated(options.file)), keys.loaded.chain, heads
        )
    _print(report)
    return 0 if report.is_intact else _TAMPERED


def _sources(options: AuditVerifyOptions) -> tuple[Storage, StaticSeal | None]:
    if options.config is not None:
        return load_storage(options.config), static_seal(load_config(options.config))
    if options.storage is None:
        raise ConfigError(
            "the chain key is in the server's store",
            hint="say --config FILE, as the server was started, or --storage URL",
        )
    return parse_storage(options.storage), None


@contextlib.asynccontextmanager
async def _open(storage: Storage) -> AsyncIterator[Pool]:
    if storage.is_embedded:
        raise ConfigError(
            "the embedded database belongs to the running server",
            hint="give its address: --storage postgresql://…",
        )
    async with Pool.open(storage.url.reveal(), size=2, connect_retry=5, pgbouncer=storage.pgbouncer) as pool:
        yield pool


async def _root_key(pool: Pool, static: StaticSeal | None) -> bytes:
    row = await pool.fetchrow("find_seal_record", "seal")
    if row is None:
        raise NotInitializedError
    record = msgspec.msgpack.decode(row["value"], type=SealRecord)
    if record.config.type == "static":
        if static is None:
            raise ConfigError("this store opens with a static key", hint="say --config FILE, which names it")
        return static.unwrap(record.root_key, key_id=record.config.key_id)
    progress = UnsealProgress(record.config.shares, record.config.threshold)
    for share in _shares():
        candidate = progress.submit(share)
        if candidate is not None:
            return seals.unwrap_root_key(candidate, record.root_key, seal_type="shamir")
    raise ConfigError("too few key shares were given", hint=f"{record.config.threshold} are needed")


def _shares() -> Iterator[bytes]:
    """Key shares: hidden from the terminal, or one a line from standard input."""
    while True:
        text = getpass.getpass("Key share (hidden): ") if sys.stdin.isatty() else sys.stdin.readline()
        if not text.strip():
            return
        yield _share(text.strip())


def _share(text: str) -> bytes:
    with contextlib.suppress(ValueError):
        return bytes.fromhex(text)
    with contextlib.suppress(ValueError):
        return base64.b64decode(text, validate=True)
    raise ConfigError("a key share is hex or base64")


def _rotated(file: Path) -> list[Path]:
    """The file and those that rotation left beside it (``audit.jsonl.1``, ``audit.jsonl-20261123``)."""
    beside = [path for path in file.parent.glob(file.name + "[.-]*") if path.suffix != ".gz"]
    return [*beside, file]


def _print(report: Report) -> None:
    for finding in report.findings:
        sys.stdout.write(
            f"{finding.kind}: {finding.file}:{finding.line} seq {finding.seq}: {finding.message}\n"
        )
    for note in report.notes:
        sys.stdout.write(f"note: {note}\n")
    verdict = "intact" if report.is_intact else f"NOT intact: {report.found} findings"
    sys.stdout.write(f"{report.entries} entries, {verdict}\n")
