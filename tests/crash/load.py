"""Clients that lease, renew and revoke until the daemon is gone, and remember what they were told."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from support.daemons import Daemon, GoneError

SHORT, LONG = "1s", "1h"
_ROUNDS = 40


@dataclass
class Memory:
    """What clients know. ``held``: answered, long, never asked to end. ``unheard``: births without an answer."""

    held: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)  # their revocation was acknowledged
    unsure: set[str] = field(default_factory=set)  # their revocation was asked for and not answered
    unheard: int = 0
    answers: int = 0


async def client(daemon: Daemon, memory: Memory, chance: random.Random, roles: dict[str, str]) -> None:
    """Ask until nobody answers."""
    for _ in range(_ROUNDS):
        ttl = chance.choice((SHORT, LONG, LONG))
        try:
            answer = await daemon.ask("GET", f"db/creds/{roles[ttl]}")
        except GoneError:
            memory.unheard += 1
            return
        memory.answers += 1
        if answer.status != 200:
            continue
        lease_id = answer.body["lease_id"]
        if ttl is LONG:
            memory.held.add(lease_id)
        try:
            await _go_on(daemon, memory, chance, lease_id)
        except GoneError:
            return


async def _go_on(daemon: Daemon, memory: Memory, chance: random.Random, lease_id: str) -> None:
    deed = chance.choice(("keep", "renew", "revoke", "renew and revoke"))
    if "renew" in deed:
        await daemon.ask("POST", "sys/leases/renew", {"lease_id": lease_id})
    if "revoke" in deed:
        memory.held.discard(lease_id)
        memory.unsure.add(lease_id)
        answer = await daemon.ask("POST", "sys/leases/revoke", {"lease_id": lease_id})
        if answer.status == 204:
            memory.unsure.discard(lease_id)
            memory.dead.add(lease_id)
