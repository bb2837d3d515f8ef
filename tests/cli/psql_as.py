"""``psql-as USER SQL`` for sessions: log in to ``$TARGET_URL`` as somebody, the password from standard input.

Prints one value a line, or the reason of the refusal (exit code 1). ``psql-as - SQL`` is the superuser.
"""

from __future__ import annotations

import asyncio
import os
import sys
from urllib.parse import urlsplit

import asyncpg


async def main(user: str, sql: str) -> int:
    """Run one query; the exit code."""
    url = os.environ["TARGET_URL"]
    parts = urlsplit(url)
    given = {} if user == "-" else {"user": user, "password": sys.stdin.read()}
    try:
        connection = await asyncpg.connect(url, **given) if not given else await asyncpg.connect(
            host="127.0.0.1", port=parts.port, database=parts.path.strip("/"), **given
        )  # fmt: skip
    except asyncpg.PostgresError as error:
        print(error)
        return 1
    try:
        for row in await connection.fetch(sql):
            print(row[0])
    finally:
        await connection.close()
    return 0


sys.exit(asyncio.run(main(*sys.argv[1:])))
