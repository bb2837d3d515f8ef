"""Birth of an account and change of its password: one transaction under lock and clock, one message.

1. Take the lease's lock.  2. Check the target's clock.  3. Create.  4. Commit.
Lock first, clock second: a check before the lock could be an hour old when the lock comes.
"""

from __future__ import annotations

from secretd.sdk.errors import InvalidRequestError, TargetError
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import ChangePassword, NewUser
from secretd_postgresql.config import MIN_ITERATIONS
from secretd_postgresql.driver import RefusedError, SilentError
from secretd_postgresql.scram import make_verifier
from secretd_postgresql.statements import fill, literal, prepare, require_name, require_password, timestamp
from secretd_postgresql.transaction import Access, begin, clock_check, fence, persist, refusal, silence

CREATION_NAMES = ("name", "username", "password", "expiration")
PASSWORD_NAMES = ("name", "username", "password")
_ENOUGH_BITS = 112
_DO = "DO {{body}}"
_CREATE = """BEGIN
EXECUTE pg_catalog.format('CREATE ROLE %I LOGIN PASSWORD %L VALID UNTIL %L', {{name}}, {{password}}, {{expiration}});
END"""
_CREATE_IN = """BEGIN
EXECUTE pg_catalog.format('CREATE ROLE %I LOGIN PASSWORD %L VALID UNTIL %L IN ROLE %I',
  {{name}}, {{password}}, {{expiration}}, {{group}});
END"""
_CHANGE = "BEGIN EXECUTE pg_catalog.format('ALTER ROLE %I PASSWORD %L', {{name}}, {{password}}); END"


async def create_user(access: Access, user: NewUser) -> None:
    """Create once. Raises TargetError when it certainly was not created, TargetUnavailableError on silence."""
    secret = await _secret(access, user.password, bits=user.password_bits)
    values = {
        "name": require_name(user.name),
        "username": user.name,
        "password": secret,
        "expiration": timestamp(user.valid_until),
    }
    statements = prepare(user.recipe.creation, CREATION_NAMES)
    if statements:
        deed = fill(statements, values)
    else:
        inner = _CREATE_IN if user.recipe.group_role else _CREATE
        deed = do_block(inner, **values, group=user.recipe.group_role)
    message = (
        begin(access.reach, own_path=not statements)
        + fence(user.fence_key)
        + clock_check(user.target_deadline)
    )
    await _send(access, message + deed + "COMMIT")


async def change_password(access: Access, change: ChangePassword) -> None:
    """Set the password of an account that exists, under the same lock and clock."""
    secret = await _secret(access, change.password, bits=change.password_bits)
    values = {"name": require_name(change.name), "username": change.name, "password": secret}
    statements = prepare(change.statements, PASSWORD_NAMES)
    deed = fill(statements, values) if statements else do_block(_CHANGE, **values)
    message = begin(access.reach, own_path=not statements)
    message += fence(change.fence_key) + clock_check(change.target_deadline)
    await _send(access, message + deed + "COMMIT")


def do_block(body: str, **values: str) -> str:
    """Return a DO statement whose values are constants inside it, whose identifiers the server quotes."""
    inner = fill([body], {name: literal(value) for name, value in values.items()})
    return fill([_DO], {"body": literal(inner)})


async def _send(access: Access, message: str) -> None:
    """One message; another attempt only after a definite answer (rule 5)."""

    async def once() -> str:
        async with access.pool.link() as link:
            return await link.run(message)

    try:
        tag = await persist(once)
    except RefusedError as error:
        raise refusal(error) from None
    except SilentError as error:
        raise silence(error) from None
    if tag != "COMMIT":  # a failed transaction answers ROLLBACK to COMMIT
        raise TargetError("the target rolled the transaction back")


async def _secret(access: Access, password: Sensitive, *, bits: float) -> str:
    """Return what goes into the password's slot: the verifier, or the password itself in clear mode."""
    settings = access.settings
    if settings.clear_passwords:
        return require_password(password.reveal(), is_clear=True)
    if settings.scram_iterations < MIN_ITERATIONS and bits < _ENOUGH_BITS:
        raise InvalidRequestError(
            f"scram_iterations below {MIN_ITERATIONS} needs passwords of {_ENOUGH_BITS} bits or more",
            hint="use a longer password policy, or more iterations",
        )
    verifier = await make_verifier(password.reveal(), iterations=settings.scram_iterations)
    return require_password(verifier, is_clear=False)
