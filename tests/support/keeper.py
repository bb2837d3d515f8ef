"""Keeps one PostgreSQL alive for a whole test run: ``keeper.py FOLDER BIN_DIR ADDRESS_FILE PID``.

The workers of pytest-xdist come and go; the run is its controller. So a process beside them owns the server,
writes its addresses to ADDRESS_FILE when it is ready, and ends with the process PID, even a killed one.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import sys
from pathlib import Path

from secretd.server.embedded import EmbeddedPostgres

SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "on",  # secretd insists on it; without fsync it costs nothing
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "autovacuum_naptime": "5min",
}


async def keep(folder: Path, bin_dir: Path, address_file: Path, pid: int) -> None:
    """Run the server until the process ends; then remove its folder."""
    async with EmbeddedPostgres(folder, bin_dir=bin_dir, settings=SETTINGS) as server:
        draft = address_file.with_suffix(".new")
        draft.write_text(json.dumps({"tcp": server.dsn("{}", tcp=True), "socket": server.dsn("{}")}))
        draft.rename(address_file)  # whole or absent: readers poll for it
        await asyncio.to_thread(wait_for_end, pid)
    shutil.rmtree(folder, ignore_errors=True)


def wait_for_end(pid: int) -> None:
    """Block until the process is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([handle], [], [])


if __name__ == "__main__":
    _folder, _bin_dir, _address_file, _pid = sys.argv[1:]
    asyncio.run(keep(Path(_folder), Path(_bin_dir), Path(_address_file), int(_pid)))
