"""Init, unseal, seal, health: what is answered sealed or not."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from secretd.sdk.errors import InvalidRequestError, NotInitializedError, PermissionDeniedError, SealedError
from secretd.sdk.request import READ, UPDATE


async def _initialise(client: Any, shares: int = 3, threshold: int = 2) -> dict[str, Any]:
    made: dict[str, Any] = await client.write("sys/init", secret_shares=shares, secret_threshold=threshold)
    return made


async def test_an_empty_store_says_so(empty: Any) -> None:
    """Before init, health is 501, and what needs the store is refused by name."""
    assert await empty.read("sys/init") == {"initialized": False}
    health = await empty.ask(READ, "sys/health")
    assert (health.status, health.body["sealed"]) == (501, True)
    with pytest.raises(NotInitializedError):
        await empty.read("sys/leader")
    with pytest.raises(NotInitializedError):
        await empty.read("sys/mounts")


async def test_init_gives_shares_and_token_once(empty: Any) -> None:
    """Init answers hex and base64 of the same shares and a token that works; a second one is refused."""
    made = await _initialise(empty)
    assert [bytes.fromhex(key) for key in made["keys"]] == [
        base64.b64decode(key) for key in made["keys_base64"]
    ]
    assert len(made["keys"]) == 3
    assert set(made) == {"keys", "keys_base64", "root_token"}
    with pytest.raises(InvalidRequestError, match="Vault is already initialized"):
        await _initialise(empty)
    await empty.write("sys/unseal", key=made["keys"][0])
    await empty.write("sys/unseal", key=made["keys_base64"][2])
    assert "sys/" in await empty.as_token(made["root_token"]).read("sys/mounts")


@pytest.mark.parametrize("counts", [(0, 0), (1, 2), (3, 1), (256, 2)])
async def test_impossible_counts_initialise_nothing(empty: Any, counts: tuple[int, int]) -> None:
    """Shares and thresholds that cannot be are refused, and the store stays empty."""
    with pytest.raises(InvalidRequestError):
        await _initialise(empty, *counts)
    assert await empty.read("sys/init") == {"initialized": False}


@pytest.mark.parametrize("field", ["recovery_shares", "recovery_threshold"])
async def test_recovery_counts_are_for_a_static_seal(empty: Any, field: str) -> None:
    """A Shamir seal has no recovery shares: who asks for some is told so, and nothing is initialised."""
    with pytest.raises(InvalidRequestError, match="not applicable to seal type shamir"):
        await empty.write("sys/init", secret_shares=1, secret_threshold=1, **{field: 1})
    assert await empty.read("sys/init") == {"initialized": False}


@pytest.mark.parametrize("field", ["pgp_keys", "recovery_pgp_keys", "root_token_pgp_key"])
async def test_pgp_is_refused_not_ignored(empty: Any, field: str) -> None:
    """Who asks for encrypted shares does not get them in clear."""
    with pytest.raises(InvalidRequestError, match="PGP"):
        await empty.write("sys/init", secret_shares=1, secret_threshold=1, **{field: "a"})
    assert await empty.read("sys/init") == {"initialized": False}


async def test_unseal_counts_shares_and_forgets_them(empty: Any) -> None:
    """Each share raises the progress, reset takes it back to nothing, and a new attempt has another nonce."""
    made = await _initialise(empty)
    first = await empty.write("sys/unseal", key=made["keys"][0])
    assert (first["sealed"], first["progress"], first["t"], first["n"]) == (True, 1, 2, 3)
    assert first["nonce"]
    assert (await empty.write("sys/unseal", reset=True))["progress"] == 0
    again = await empty.write("sys/unseal", key=made["keys"][1])
    assert again["nonce"] != first["nonce"]
    assert (await empty.write("sys/unseal", key=made["keys"][2]))["sealed"] is False


@pytest.mark.parametrize("fields", [{}, {"key": ""}, {"key": "zz"}, {"key": "ffff"}, {"key": 7}])
async def test_no_share_no_progress(empty: Any, fields: dict[str, Any]) -> None:
    """What is no key share is a 400 and counts for nothing."""
    await _initialise(empty)
    with pytest.raises(InvalidRequestError):
        await empty.write("sys/unseal", **fields)
    assert (await empty.read("sys/seal-status"))["progress"] == 0


async def test_seal_needs_sudo(root: Any) -> None:
    """A token with update on sys/seal, but without sudo, cannot seal."""
    weak = await root.new_token('path "sys/seal" { capabilities = ["update"] }')
    with pytest.raises(PermissionDeniedError):
        await weak.write("sys/seal")
    assert root.core.parts.lifecycle.is_open


async def test_sealed_says_so(root: Any) -> None:
    """After seal, health is 503, the status is told, and everything else is refused as sealed."""
    await root.write("sys/seal")
    assert (await root.ask(READ, "sys/health")).status == 503
    assert (await root.read("sys/seal-status"))["sealed"] is True
    assert await root.read("sys/init") == {"initialized": True}
    for path in ("sys/leader", "sys/mounts", "secret/x"):
        with pytest.raises(SealedError):
            await root.read(path)


async def test_health_has_what_clients_read(root: Any) -> None:
    """An active daemon answers 200 with Vault's fields in Vault's types."""
    health = await root.ask(READ, "sys/health")
    assert health.status == 200
    assert isinstance(health.body["server_time_utc"], int)
    assert (health.body["standby"], health.body["performance_standby"]) == (False, False)
    assert health.body["replication_performance_mode"] == health.body["replication_dr_mode"] == "disabled"
    assert health.body["version"].startswith("1.")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"activecode": "299"}, 299),
        ({"standbycode": "222", "standbyok": "true", "perfstandbyok": ""}, 200),
        ({"unheard": "of"}, 200),
    ],
)
async def test_health_codes_can_be_chosen(root: Any, query: dict[str, str], status: int) -> None:
    """A load balancer names the status that it wants; what is unknown is ignored."""
    assert (await root.ask(READ, "sys/health", **query)).status == status


@pytest.mark.parametrize("code", ["abc", "42", "100", "1000"])
async def test_health_codes_are_statuses(root: Any, code: str) -> None:
    """What is no final HTTP status is refused."""
    with pytest.raises(InvalidRequestError):
        await root.ask(READ, "sys/health", activecode=code)


@pytest.mark.parametrize("path", ["sys/rotate", "sys/rotate/keyring"])
async def test_rotate_begins_a_term(root: Any, path: str) -> None:
    """Both paths begin a new term, and what was written before stays readable."""
    await root.write("sys/policies/acl/kept", policy='path "a" { capabilities = ["read"] }')
    before = await root.ask(READ, "sys/key-status")
    await root.write(path)
    after = await root.ask(READ, "sys/key-status")
    assert (before.data["term"], after.data["term"]) == (1, 2)
    assert after.spread
    assert 'path "a"' in (await root.read("sys/policies/acl/kept"))["policy"]


async def test_operations_of_other_kinds_are_not_open(empty: Any) -> None:
    """Only the rows of the table answer without a token: another verb on the same path does not."""
    with pytest.raises(NotInitializedError):
        await empty.write("sys/health")
    with pytest.raises(NotInitializedError):
        await empty.ask(UPDATE, "sys/seal-status")
