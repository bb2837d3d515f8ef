"""``make bench``: secretd beside OpenBao, each on a fresh PostgreSQL, in interleaved rounds of one run.

Read ratios, not absolute figures: load generator, daemons and databases share this machine's cores. CPU per
request is summed over the process trees of the daemon (with its plugins), of its storage and of its target.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
from cpu import resident_mib, tree_ms
from loads import BULK, GROUPS, LOADS, OPEN_CONNECTIONS, REVOKE, Load, prepare, require_status
from report import Sample, print_table, ratios, summarise, write_json
from servers import BenchError, Server, openbao, secretd

LOAD = Path(__file__).with_name("load.py")
RESULT = Path(__file__).parents[2] / "build" / "bench.json"
STARTERS = {"openbao": openbao, "secretd": secretd}
# Any verifier will do: the target stores it as it is.
_VERIFIER = "SCRAM-SHA-256$4096:YmVuY2hiZW5jaGJlbmNo$" + "A" * 43 + "=:" + "A" * 43 + "="


def _cpu(server: Server) -> tuple[float, float, float]:
    return tree_ms(server.pid), tree_ms(server.storage.pid), tree_ms(server.target.pid)


async def measure(server: Server, load: Load, connections: int, **extent: Any) -> Sample:
    """One stretch of a load; ``extent``: ``seconds`` or ``count``, ``warm``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(LOAD),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    job = {**load.job(server), "connections": connections, **extent}
    process.stdin.write(json.dumps(job).encode() + b"\n")
    if await process.stdout.readline() != b"ready\n":
        raise BenchError(f"{server.name}: the load generator did not get ready for {load.name}")
    before = _cpu(server)
    process.stdin.write(b"go\n")
    line = await process.stdout.readline()
    used = [now - then for now, then in zip(_cpu(server), before, strict=True)]
    await process.wait()
    if not line:
        raise BenchError(f"{server.name}: the load generator gave up on {load.name}")
    result = json.loads(line)
    require_status(load, result["statuses"])
    requests = len(result["latencies"])
    return Sample(
        load.name, server.name, connections, result["seconds"], requests, *used, latencies=result["latencies"]
    )


async def revoke_bulk(server: Server, leases: int) -> Sample:
    """Issue so many leases on one role, end them by one synchronous revoke-prefix, prove the accounts gone."""
    await measure(server, BULK, 8, count=leases)
    if await _count_accounts(server) < leases:
        raise BenchError(f"{server.name}: fewer accounts than leases")
    sample = await measure(server, REVOKE, 1, count=1)
    left = await _count_accounts(server)
    if left:
        raise BenchError(f"{server.name}: {left} accounts are left after a synchronous revoke-prefix")
    return sample


async def _count_accounts(server: Server) -> int:
    connection = await asyncpg.connect(server.target.dsn())
    try:
        # Both name accounts v-<display name, shortened>-<role, shortened>-….
        return int(await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%-bulk-%'"))
    finally:
        await connection.close()


async def bare_rate(server: Server, connections: int, seconds: float) -> float:
    """CREATE ROLE statements per second that the target does for nobody but us, a transaction each."""
    ends = time.monotonic() + seconds
    made = 0

    async def loop(number: int) -> None:
        nonlocal made
        connection = await asyncpg.connect(server.target.dsn(tcp=True))
        count = 0
        while time.monotonic() < ends:
            count += 1
            await connection.execute(
                f"CREATE ROLE \"bare-{connections}-{number}-{count}\" LOGIN PASSWORD '{_VERIFIER}' "
                f"VALID UNTIL '2100-01-01' IN ROLE \"{GROUPS[2]}\""
            )
            made += 1
        await connection.close()

    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(loop(number))
    return made / (time.monotonic() - begun)


async def _make_groups(server: Server) -> None:
    connection = await asyncpg.connect(server.target.dsn())
    for group in GROUPS:
        await connection.execute(f'CREATE ROLE "{group}" NOLOGIN')
    await connection.close()


@contextlib.asynccontextmanager
async def _running(folder: Path, names: list[str]) -> AsyncIterator[list[Server]]:
    async with contextlib.AsyncExitStack() as stack:
        servers = []
        for name in names:
            (folder / name).mkdir(mode=0o755)
            server = await stack.enter_async_context(STARTERS[name](folder / name))
            await _make_groups(server)
            prepare(server)
            servers.append(server)
        yield servers


async def _measure_all(servers: list[Server], options: argparse.Namespace) -> list[Sample]:
    samples = []
    wanted = [load for load in LOADS if options.only in load.name]
    for turn in range(options.rounds):
        order = servers if turn % 2 == 0 else servers[::-1]
        for load in wanted:
            for connections in options.connections:
                for server in order:
                    if load.only in ("", server.name):
                        extent = load.extent(connections, options.seconds)
                        samples.append(await measure(server, load, connections, **extent))
                        _tell(samples[-1])
        if options.only in REVOKE.name and turn < options.revoke_rounds:
            for server in order:
                samples.append(await revoke_bulk(server, options.leases))
                _tell(samples[-1])
    return samples


def _tell(sample: Sample) -> None:
    print(
        f"  {sample.load:<15}{sample.connections:>3}  {sample.server:<9}"
        f"{sample.requests / sample.seconds:>9.1f} requests/s",
        file=sys.stderr,
        flush=True,
    )


async def bench(options: argparse.Namespace) -> None:
    """Start, measure, print."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="secretd-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # plugins and databases may run as another user
        async with _running(folder, options.servers) as servers:
            samples = await _measure_all(servers, options)
            ceiling = {}
            if options.only in "creds":
                ceiling = {n: await bare_rate(servers[-1], n, options.seconds) for n in (1, OPEN_CONNECTIONS)}
            memory = {server.name: round(resident_mib(server.pid), 1) for server in servers}
    figures = summarise(samples)
    compared = ratios(figures, {load.name: load.beside for load in LOADS if load.beside})
    print_table(figures, compared, ceiling)
    print(f"revoke-prefix: {options.leases} leases a request; one request is one revoke")
    facts = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "rounds": options.rounds,
        "seconds": options.seconds,
        "leases": options.leases,
        "bare_create_role": ceiling,
        "resident_mib": memory,
    }
    write_json(options.json, figures, compared, **facts)
    print(f"{time.monotonic() - begun:.0f} s in all; written to {options.json}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round, 200 leases: does it still run?"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--revoke-rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each stretch")
    parser.add_argument("--leases", type=int, default=1000, help="for revoke-prefix")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--servers", nargs="+", choices=sorted(STARTERS), default=["openbao", "secretd"])
    parser.add_argument("--only", default="", help="loads whose name contains this")
    parser.add_argument("--json", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.revoke_rounds, options.seconds, options.leases = 1, 1, 1.0, 200
    return options


if __name__ == "__main__":
    asyncio.run(bench(_options()))
