"""The table: users, and their logins."""

from __future__ import annotations

from secretd.auth.userpass import login, users
from secretd.auth.userpass.schemas import Login, Named, PasswordFields, PolicyFields, UserFields
from secretd.sdk.engine import Engine
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import DELETE, LIST, READ, UPDATE

PATHS = (
    Path(LIST, "users", Nothing, users.list_names),
    Path(READ, "users/{username}", Named, users.read),
    Path(UPDATE, "users/{username}", UserFields, users.write, exists=users.exists),
    Path(DELETE, "users/{username}", Named, users.delete),
    Path(UPDATE, "users/{username}/password", PasswordFields, users.write_password),
    Path(UPDATE, "users/{username}/policies", PolicyFields, users.write_policies),
    Path(UPDATE, "login/{username}", Login, login.log_in, open=True),
)

ENGINE = Engine(
    type="userpass",
    kind="auth",
    paths=PATHS,
    help="Logs in by username and password. Passwords are kept as bcrypt hashes.",
)
