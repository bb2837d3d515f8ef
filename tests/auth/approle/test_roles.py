"""Roles and their role ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.request import DELETE, LIST, READ, UPDATE

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_a_read_answers_as_vault(approle: Any) -> None:
    """Everything but the role id, merged over writes; names are lower case."""
    await approle.make("App", token_policies="b,a", secret_id_ttl="10m", secret_id_num_uses=2)
    await approle.make("app", token_ttl="20m")
    assert await approle.mount.data(READ, "role/APP") == {
        "bind_secret_id": True, "local_secret_ids": False, "secret_id_bound_cidrs": None,
        "secret_id_num_uses": 2, "secret_id_ttl": 600, "token_bound_cidrs": [],
        "token_explicit_max_ttl": 0, "token_max_ttl": 0, "token_no_default_policy": False,
        "token_num_uses": 0, "token_period": 0, "token_policies": ["a", "b"],
        "token_strictly_bind_ip": False, "token_ttl": 1200, "token_type": "default",
    }  # fmt: skip
    assert await approle.mount.data(LIST, "role") == {"keys": ["app"]}
    assert await approle.mount.exists("role/app")


async def test_a_role_id_names_one_role(approle: Any) -> None:
    """It can be chosen, at the role or at its own path; one that is taken is refused and nothing changes."""
    assert await approle.make("one", role_id="first") == "first"
    await approle.make("two")
    with pytest.raises(InvalidRequestError, match="role_id already in use"):
        await approle.mount.ask(UPDATE, "role/two/role-id", role_id="first")
    with pytest.raises(InvalidRequestError, match="role_id already in use"):
        await approle.make("three", role_id="first")
    assert not await approle.mount.exists("role/three")
    await approle.mount.ask(UPDATE, "role/one/role-id", role_id="second")
    assert await approle.make("three", role_id="first") == "first"


async def test_a_new_role_id_ends_the_old_one(approle: Any) -> None:
    """Secret ids stay good; the old role id does not."""
    old = await approle.make()
    secret_id, _ = await approle.secret()
    await approle.mount.ask(UPDATE, "role/app/role-id", role_id="new")
    await approle.log_in("new", secret_id)
    with pytest.raises(InvalidRequestError, match="invalid role or secret ID"):
        await approle.log_in(old, secret_id)


async def test_a_role_made_again_has_none_of_the_old_secret_ids(approle: Any) -> None:
    """Same name, same role id: the secret id of the first life is refused."""
    await approle.make(role_id="same")
    secret_id, _ = await approle.secret()
    await approle.mount.ask(DELETE, "role/app")
    await approle.mount.ask(DELETE, "role/app")
    await approle.make(role_id="same")
    with pytest.raises(InvalidRequestError, match="invalid role or secret ID"):
        await approle.log_in("same", secret_id)
    assert await approle.mount.data(LIST, "role/app/secret-id") == {"keys": []}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"bind_secret_id": False}, "at least one constraint"),
        ({"secret_id_num_uses": -1}, "secret_id_num_uses"),
        ({"secret_id_ttl": "-1s"}, "secret_id_ttl"),
        ({"secret_id_bound_cidrs": "home"}, "secret_id_bound_cidrs"),
        ({"token_bound_cidrs": "10.0.0.0/8"}, "token_bound_cidrs"),
        ({"role_id": "x" * 4097}, "role_id"),
        ({"token_policies": "root"}, "root"),
        ({"token_type": "batch"}, "token_type"),
        ({"role_id": 5}, "role_id"),
    ],
)
async def test_bad_roles_are_refused_with_nothing_stored(
    approle: Any, fields: dict[str, Any], reason: str
) -> None:
    """The error names the field."""
    with pytest.raises(InvalidRequestError, match=reason):
        await approle.make(**fields)
    assert not await approle.mount.exists("role/app")


async def test_a_role_that_is_not_there(approle: Any) -> None:
    """404 wherever it is named, and names that are none are 400."""
    asks: list[Callable[[], Any]] = [
        lambda: approle.mount.ask(READ, "role/none"),
        lambda: approle.mount.ask(READ, "role/none/role-id"),
        lambda: approle.mount.ask(UPDATE, "role/none/role-id", role_id="x"),
        lambda: approle.secret("none"),
        lambda: approle.mount.ask(LIST, "role/none/secret-id"),
        lambda: approle.mount.ask(UPDATE, "role/none/secret-id/lookup", secret_id="x"),
    ]
    for ask in asks:
        with pytest.raises(NotFoundError):
            await ask()
    with pytest.raises(InvalidRequestError, match="a role's name"):
        await approle.make("a b")
    await approle.make()
    with pytest.raises(InvalidRequestError, match="missing role_id"):
        await approle.mount.ask(UPDATE, "role/app/role-id")
