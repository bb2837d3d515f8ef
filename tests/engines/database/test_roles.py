"""Roles: merged writes, warnings for what does not work yet, refusals for what never will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from secretd.engines.database.roles import is_allowed
from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.request import DELETE, LIST, READ, UPDATE

if TYPE_CHECKING:
    from support.mounted import Mounted

PLUGIN = "postgresql-database-plugin"
SQL = """CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'"""


async def _connect(database: Mounted, **fields: Any) -> None:
    given = {"plugin_name": PLUGIN, "connection_url": "postgresql://db/app", "allowed_roles": "*"} | fields
    await database.ask(UPDATE, "config/app", **given)


async def test_a_role_reads_as_vault_writes_it(database: Mounted) -> None:
    """Statements given as text are lists of one, commas included; TTLs are seconds."""
    await _connect(database)
    text = "CREATE ROLE a; GRANT x, y TO a"
    await database.ask(
        UPDATE, "roles/r", db_name="app", creation_statements=text, default_ttl="1h", max_ttl=7200
    )
    assert (await database.ask(READ, "roles/r")).data == {
        "db_name": "app",
        "creation_statements": [text],
        "revocation_statements": [],
        "rollback_statements": [],
        "renew_statements": [],
        "default_ttl": 3600,
        "max_ttl": 7200,
        "credential_type": "password",
        "group_role": "",
    }
    assert (await database.ask(LIST, "roles")).data == {"keys": ["r"]}


async def test_a_write_changes_only_what_it_names(database: Mounted) -> None:
    """The second write keeps statements and TTL of the first."""
    await _connect(database)
    await database.ask(UPDATE, "roles/r", db_name="app", creation_statements=[SQL, "b"], default_ttl=60)
    await database.ask(UPDATE, "roles/r", max_ttl="2m", credential_config={"password_policy": "p"})
    data = await database.data(READ, "roles/r")
    assert (data["creation_statements"], data["default_ttl"], data["max_ttl"]) == ([SQL, "b"], 60, 120)
    assert data["credential_config"] == {"password_policy": "p"}


async def test_a_role_may_come_before_its_connection(database: Mounted) -> None:
    """It is stored, and the writer is told what is missing."""
    response = await database.ask(UPDATE, "roles/r", db_name="later", group_role="readers")
    assert response.warnings == ['failed to find entry for connection with name: "later"']
    assert await database.exists("roles/r")


async def test_a_role_that_its_connection_does_not_serve_warns(database: Mounted) -> None:
    """So does a statement that the plugin thinks little of."""
    await _connect(database, allowed_roles="other")
    response = await database.ask(UPDATE, "roles/r", db_name="app", creation_statements="GRANT ALL")
    assert response.warnings == [
        '"r" is not an allowed role of connection "app"',
        "grants on all tables grow without end",
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "database name is required"),
        ({"db_name": "app"}, "makes no login"),
        ({"db_name": "app", "creation_statements": " "}, "makes no login"),
        ({"db_name": "app", "group_role": "g", "default_ttl": "-1s"}, "not negative"),
        ({"db_name": "app", "group_role": "g", "credential_type": "rsa_private_key"}, "credential_type"),
        ({"db_name": "app", "creation_statements": "syntax '"}, "creation_statements"),
        ({"db_name": "app", "creation_statements": [1]}, "creation_statements"),
        ({"db_name": "app", "group_role": "g", "credential_config": "x"}, "credential_config"),
        ({"db_name": "app", "group_role": "g", "max_ttl": "soon"}, "max_ttl"),
    ],
)
async def test_bad_roles_are_refused_with_nothing_stored(
    database: Mounted, fields: dict[str, Any], reason: str
) -> None:
    """The error names the field."""
    await _connect(database)
    with pytest.raises(InvalidRequestError, match=reason):
        await database.ask(UPDATE, "roles/r", **fields)
    assert not await database.exists("roles/r")


async def test_a_name_that_would_not_be_a_name(database: Mounted) -> None:
    """Spaces, quotes and leading dashes are refused in names."""
    for name in ("a b", "-a", 'a"b', "x" * 129):
        with pytest.raises(InvalidRequestError, match="a name has"):
            await database.ask(UPDATE, f"roles/{name}", db_name="app", group_role="g")


async def test_cheap_scram_needs_strong_passwords(database: Mounted) -> None:
    """With few iterations a weak password policy is refused, a strong one and our own alphabet are not."""
    await _connect(database, scram_iterations=1000)
    database.system.policies = {"weak": ("abc", 60.0), "strong": ("abcdef", 112.0)}
    await database.ask(UPDATE, "roles/own", db_name="app", group_role="g")
    strong = {"password_policy": "strong"}
    await database.ask(UPDATE, "roles/strong", db_name="app", group_role="g", credential_config=strong)
    with pytest.raises(InvalidRequestError, match="scram_iterations"):
        await database.ask(
            UPDATE, "roles/weak", db_name="app", group_role="g", credential_config={"password_policy": "weak"}
        )


async def test_deleting_a_role_tells_what_lives_on(database: Mounted) -> None:
    """A count of leases, or nothing to say; a role that is not there is gone already."""
    await _connect(database)
    await database.ask(UPDATE, "roles/r", db_name="app", group_role="g")
    database.system.leases = [("app/1", "r"), ("app/1", "r"), ("app/1", "other")]
    response = await database.ask(DELETE, "roles/r")
    assert "2 leases" in response.warnings[0]
    assert "here/creds/r" in response.warnings[0]
    with pytest.raises(NotFoundError):
        await database.ask(READ, "roles/r")
    assert (await database.ask(DELETE, "roles/none")).is_empty


@pytest.mark.parametrize(
    ("allowed", "serves"),
    [((), False), (("*",), True), (("app",), True), (("ap",), False), (("ap*",), True), (("*pp",), True),
     (("*p*",), True), (("APP",), False), (("x", "app"), True), (("a*p",), False)],
)  # fmt: skip
def test_allowed_roles(allowed: tuple[str, ...], serves: bool) -> None:
    """Nothing is allowed by an empty list; stars stand at the ends only."""
    assert is_allowed("app", allowed) is serves
