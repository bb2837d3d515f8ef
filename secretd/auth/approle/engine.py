"""The table: roles, their role ids, their secret ids, and the login."""

from __future__ import annotations

from secretd.auth.approle import accessors, digests, login, roles, secret_ids, tidy
from secretd.auth.approle.schemas import (
    AccessorFields,
    CustomSecretIdFields,
    Login,
    Named,
    RoleFields,
    RoleIdFields,
    SecretIdFields,
    SecretIdLookup,
)
from secretd.sdk.engine import Engine
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import DELETE, LIST, READ, UPDATE

PATHS = (
    Path(LIST, "role", Nothing, roles.list_names),
    Path(READ, "role/{role_name}", Named, roles.read),
    Path(UPDATE, "role/{role_name}", RoleFields, roles.write, exists=roles.exists),
    Path(DELETE, "role/{role_name}", Named, roles.delete),
    Path(READ, "role/{role_name}/role-id", Named, roles.read_role_id),
    Path(UPDATE, "role/{role_name}/role-id", RoleIdFields, roles.write_role_id),
    Path(UPDATE, "role/{role_name}/secret-id", SecretIdFields, secret_ids.generate),
    Path(LIST, "role/{role_name}/secret-id", Named, accessors.list_names),
    Path(UPDATE, "role/{role_name}/custom-secret-id", CustomSecretIdFields, secret_ids.write_custom),
    Path(UPDATE, "role/{role_name}/secret-id/lookup", SecretIdLookup, secret_ids.lookup),
    Path(UPDATE, "role/{role_name}/secret-id/destroy", SecretIdLookup, secret_ids.destroy),
    Path(UPDATE, "role/{role_name}/secret-id-accessor/lookup", AccessorFields, accessors.lookup),
    Path(UPDATE, "role/{role_name}/secret-id-accessor/destroy", AccessorFields, accessors.destroy),
    Path(UPDATE, "login", Login, login.log_in, open=True),
)

ENGINE = Engine(
    type="approle",
    kind="auth",
    paths=PATHS,
    timers=(tidy.TIDY_SECRET_IDS,),
    help="Logs in programs by a role id and a secret id that is limited in time and uses.",
    started=digests.make_key,
)
