"""Secret ids: how they are made, what bounds them, how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from secretd.auth.approle.tidy import tidy_secret_ids
from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.request import LIST, UPDATE
from secretd.sdk.response import Auth

REFUSED = r"^invalid role or secret ID$"


async def test_role_id_and_secret_id_make_a_token(approle: Any) -> None:
    """With the role's parameters, the secret id's metadata, and the role's key to lock."""
    role_id = await approle.make(token_policies="p", token_ttl=60, token_period=30)
    secret_id, _ = await approle.secret(metadata='{"team": "blue"}')
    login = await approle.log_in(role_id, secret_id)
    assert (login.display_name, login.role_key, login.alias_name) == ("here", "role/app", role_id)
    assert login.metadata == {"team": "blue", "role_name": "app"}
    assert (login.policies, login.ttl, login.period) == (("p",), 60, 30)


async def test_every_refusal_is_the_same(approle: Any) -> None:
    """Unknown role id, unknown secret id, another role's secret id, none at all: one sentence."""
    role_id = await approle.make()
    await approle.make("other")
    secret_id, _ = await approle.secret()
    foreign, _ = await approle.secret("other")
    for given in [("nobody", secret_id), (role_id, "wrong"), (role_id, foreign), (role_id, "")]:
        with pytest.raises(InvalidRequestError, match=REFUSED):
            await approle.log_in(*given)
    with pytest.raises(InvalidRequestError, match="missing role_id"):
        await approle.log_in("", secret_id)


async def test_uses_are_counted_under_the_rows_lock(approle: Any) -> None:
    """Eight logins at once with three uses: three succeed, and nothing of the secret id is left."""
    role_id = await approle.make(secret_id_num_uses=3)
    secret_id, accessor = await approle.secret()
    logins = (approle.log_in(role_id, secret_id) for _ in range(8))
    answers = await asyncio.gather(*logins, return_exceptions=True)
    assert sum(isinstance(answer, Auth) for answer in answers) == 3
    assert sum(isinstance(answer, InvalidRequestError) for answer in answers) == 5
    with pytest.raises(NotFoundError):
        await approle.mount.ask(UPDATE, "role/app/secret-id-accessor/lookup", secret_id_accessor=accessor)


async def test_a_secret_id_ends_by_storages_clock(approle: Any) -> None:
    """Our own clock may be behind: the measured offset counts."""
    role_id = await approle.make(secret_id_ttl="1m")
    secret_id, accessor = await approle.secret()
    approle.mount.system.clock.advance(59)
    await approle.log_in(role_id, secret_id)
    approle.mount.system.offset = 2.0
    with pytest.raises(InvalidRequestError, match=REFUSED):
        await approle.log_in(role_id, secret_id)
    assert (await approle.mount.ask(UPDATE, "role/app/secret-id/lookup", secret_id=secret_id)).is_empty
    with pytest.raises(NotFoundError):
        await approle.mount.ask(UPDATE, "role/app/secret-id-accessor/lookup", secret_id_accessor=accessor)


async def test_networks_bind_logins(approle: Any) -> None:
    """The role's and the secret id's must both hold; an address that is unknown is in neither."""
    role_id = await approle.make(secret_id_bound_cidrs="10.0.0.0/8, 127.0.0.1")
    narrow, _ = await approle.secret(cidr_list=["10.1.0.0/16"])
    wide, _ = await approle.secret()
    expected = {
        "10.1.2.3": 2,
        "10.2.0.1": 1,
        "127.0.0.1": 1,
        "::ffff:10.1.2.3": 2,
        "::1": 0,
        "": 0,
        "192.0.2.1": 0,
    }
    for address, count in expected.items():
        approle.mount.client_address = address
        answers = await asyncio.gather(
            *(approle.log_in(role_id, secret_id) for secret_id in (narrow, wide)), return_exceptions=True
        )
        assert sum(isinstance(answer, Auth) for answer in answers) == count, address


async def test_a_role_may_do_without_secret_ids(approle: Any) -> None:
    """Bound to a network instead; secret ids are then refused rather than ignored."""
    role_id = await approle.make(bind_secret_id=False, secret_id_bound_cidrs="127.0.0.0/8")
    await approle.log_in(role_id, "")
    with pytest.raises(InvalidRequestError, match="bind_secret_id"):
        await approle.secret()


async def test_a_lookup_shows_the_limits(approle: Any) -> None:
    """By secret id and by accessor the same; what is not there is 204 and 404."""
    role_id = await approle.make(secret_id_num_uses=5, secret_id_ttl=600)
    secret_id, accessor = await approle.secret(metadata="a=b, c=d=e", num_uses=3, ttl="1m")
    await approle.log_in(role_id, secret_id)
    data = await approle.mount.data(UPDATE, "role/app/secret-id/lookup", secret_id=secret_id)
    assert data == {
        "cidr_list": [], "creation_time": "2026-11-23T10:00:00.000000Z",
        "expiration_time": "2026-11-23T10:01:00.000000Z", "last_updated_time": "2026-11-23T10:00:00.000000Z",
        "metadata": {"a": "b", "c": "d=e"}, "secret_id_accessor": accessor, "secret_id_num_uses": 2,
        "secret_id_ttl": 60, "token_bound_cidrs": [],
    }  # fmt: skip
    by_accessor = {"secret_id_accessor": accessor}
    assert await approle.mount.data(UPDATE, "role/app/secret-id-accessor/lookup", **by_accessor) == data
    assert await approle.mount.data(LIST, "role/app/secret-id") == {"keys": [accessor]}
    assert (await approle.mount.ask(UPDATE, "role/app/secret-id/lookup", secret_id="none")).is_empty


async def test_an_accessor_reaches_its_own_role_only(approle: Any) -> None:
    """Through another role's path it is 404, and the secret id stays good (CVE-2023-24999)."""
    role_id = await approle.make()
    await approle.make("other")
    secret_id, accessor = await approle.secret()
    for verb in ("lookup", "destroy"):
        for given in (accessor, "none", f"../{accessor}"):
            with pytest.raises(NotFoundError):
                await approle.mount.ask(
                    UPDATE, f"role/other/secret-id-accessor/{verb}", secret_id_accessor=given
                )
    await approle.mount.ask(UPDATE, "role/other/secret-id/destroy", secret_id=secret_id)
    await approle.log_in(role_id, secret_id)


@pytest.mark.parametrize("way", ["secret-id", "secret-id-accessor"])
async def test_a_destroyed_secret_id_is_refused(approle: Any, way: str) -> None:
    """Destroyed by itself or by its accessor; nothing of it stays."""
    role_id = await approle.make()
    secret_id, accessor = await approle.secret()
    await approle.mount.ask(
        UPDATE, f"role/app/{way}/destroy", secret_id=secret_id, secret_id_accessor=accessor
    )
    with pytest.raises(InvalidRequestError, match=REFUSED):
        await approle.log_in(role_id, secret_id)
    assert await approle.mount.data(LIST, "role/app/secret-id") == {"keys": []}
    assert await approle.mount.view.list("secret/") == []


async def test_a_secret_id_may_be_the_callers_own(approle: Any) -> None:
    """Once: the second of the same is refused."""
    role_id = await approle.make()
    data = await approle.mount.data(UPDATE, "role/app/custom-secret-id", secret_id="ours")
    assert data["secret_id"] == "ours"
    with pytest.raises(InvalidRequestError, match="registered already"):
        await approle.mount.ask(UPDATE, "role/app/custom-secret-id", secret_id="ours")
    await approle.log_in(role_id, "ours")


@pytest.mark.parametrize(
    ("path", "fields", "reason"),
    [
        ("secret-id", {"num_uses": 3}, "num_uses"),
        ("secret-id", {"num_uses": 0}, "num_uses"),
        ("secret-id", {"ttl": "2m"}, "ttl"),
        ("secret-id", {"ttl": 0}, "ttl"),
        ("secret-id", {"ttl": -1}, "ttl"),
        ("secret-id", {"metadata": "xx"}, "metadata"),
        ("secret-id", {"metadata": '{"a": 1}'}, "metadata"),
        ("secret-id", {"metadata": ",".join(f"k{n}=v" for n in range(65))}, "metadata"),
        ("secret-id", {"cidr_list": "x"}, "cidr_list"),
        ("secret-id", {"token_bound_cidrs": "10.0.0.0/8"}, "token_bound_cidrs"),
        ("custom-secret-id", {}, "missing secret_id"),
        ("custom-secret-id", {"secret_id": "x" * 4097}, "secret_id"),
        ("secret-id/lookup", {}, "missing secret_id"),
        ("secret-id/destroy", {}, "missing secret_id"),
        ("secret-id-accessor/lookup", {}, "missing secret_id_accessor"),
    ],
)
async def test_bad_requests_are_refused(approle: Any, path: str, fields: dict[str, Any], reason: str) -> None:
    """More than the role permits, or no sense at all: the error names the field, nothing is stored."""
    await approle.make(secret_id_num_uses=2, secret_id_ttl="1m")
    with pytest.raises(InvalidRequestError, match=reason):
        await approle.mount.ask(UPDATE, f"role/app/{path}", **fields)
    assert await approle.mount.view.list("secret/") == []


async def test_storage_has_no_secret_id(approle: Any) -> None:
    """Neither keys nor decrypted values hold it; digests of two mounts differ by their keys."""
    await approle.make()
    secret_id, _ = await approle.secret()
    view = approle.mount.view
    (folder,) = await view.list("secret/")
    (hashed,) = await view.list(f"secret/{folder}")
    entry = await view.get(f"secret/{folder}{hashed}")
    assert len(hashed) == 64
    assert secret_id.encode() not in entry.value


async def test_tidy_removes_the_expired_and_the_stranded(approle: Any) -> None:
    """Living secret ids stay; those under no role go."""
    role_id = await approle.make()
    await approle.secret(ttl="1m")
    living, accessor = await approle.secret()
    await approle.mount.view.put("secret/gone/abc", b"x")
    await approle.mount.view.put("accessor/gone/def", b"x")
    approle.mount.system.clock.advance(61)
    await tidy_secret_ids(approle.mount.system, approle.mount.view, approle.mount.mount)
    assert await approle.mount.data(LIST, "role/app/secret-id") == {"keys": [accessor]}
    assert len(await approle.mount.view.list("secret/")) == 1
    assert len(await approle.mount.view.list("accessor/")) == 1
    await approle.log_in(role_id, living)
