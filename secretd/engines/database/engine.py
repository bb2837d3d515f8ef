"""The table: connections, roles and the logins that they lease, accounts whose passwords rotate."""

from __future__ import annotations

from secretd.engines.database import connections, creds, due, roles, root, static_roles, tidy
from secretd.engines.database.schemas import ConnectionFields, Named, RoleFields, StaticFields
from secretd.sdk.engine import Engine
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import DELETE, LIST, READ, UPDATE
from secretd.sdk.secret_type import issues

PATHS = (
    Path(LIST, "config", Nothing, connections.list_names),
    Path(READ, "config/{name}", Named, connections.read),
    Path(
        UPDATE, "config/{name}", ConnectionFields, connections.write,
        exists=connections.exists, takes_any=True,
    ),
    Path(DELETE, "config/{name}", Named, connections.delete),
    Path(UPDATE, "reset/{name}", Named, connections.reset),
    Path(LIST, "roles", Nothing, roles.list_names),
    Path(READ, "roles/{name}", Named, roles.read),
    Path(UPDATE, "roles/{name}", RoleFields, roles.write, exists=roles.exists),
    Path(DELETE, "roles/{name}", Named, roles.delete),
    Path(READ, "creds/{name}", Named, issues(creds.CREDS)),
    Path(LIST, "static-roles", Nothing, static_roles.list_names),
    Path(READ, "static-roles/{name}", Named, static_roles.read),
    Path(UPDATE, "static-roles/{name}", StaticFields, static_roles.write, exists=static_roles.exists),
    Path(DELETE, "static-roles/{name}", Named, static_roles.delete),
    Path(READ, "static-creds/{name}", Named, static_roles.read_creds),
    Path(UPDATE, "rotate-role/{name}", Named, static_roles.rotate_role),
    Path(UPDATE, "rotate-root/{name}", Named, root.rotate_root),
)  # fmt: skip

ENGINE = Engine(
    type="database",
    kind="secret",
    paths=PATHS,
    secrets=(creds.CREDS,),
    timers=(tidy.TIDY_TARGETS, due.ROTATE_DUE),
    help="Leases logins of databases: each is made when asked for and removed when its lease ends. "
    "Rotates passwords of accounts that exist.",
)
