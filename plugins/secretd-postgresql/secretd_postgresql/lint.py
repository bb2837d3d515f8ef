"""Judging a role's statements before anybody relies on them; no I/O."""

from __future__ import annotations

import re

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.plugin import Recipe
from secretd_postgresql.issue import CREATION_NAMES
from secretd_postgresql.renew import RENEWAL_NAMES
from secretd_postgresql.revoke import REVOCATION_NAMES
from secretd_postgresql.statements import prepare

_OBJECT_GRANT = re.compile(
    r"\bGRANT\b.*\bON\b.*\bTO\b.*\{\{\s*(?:user)?name\s*\}\}", re.IGNORECASE | re.DOTALL
)
_REFUSES = re.compile(
    r"\s*(?:(?:CREATE|DROP|ALTER)\s+(?:DATABASE|TABLESPACE|SYSTEM)|VACUUM|REINDEX|CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY)\b",
    re.IGNORECASE,
)


def lint(recipe: Recipe) -> tuple[str, ...]:
    """Return warnings. Raises InvalidRequestError when the statements cannot work."""
    creation = prepare(recipe.creation, CREATION_NAMES)
    everything = (
        creation + prepare(recipe.renewal, RENEWAL_NAMES) + prepare(recipe.revocation, REVOCATION_NAMES)
    )
    if any(_REFUSES.match(statement) for statement in everything):
        raise InvalidRequestError(
            "a statement refuses to run in a transaction", hint="all statements of a role run in one"
        )
    warnings = []
    text = "\n".join(creation)
    if creation and "{{name}}" not in text and "{{username}}" not in text:
        raise InvalidRequestError("creation_statements do not use {{name}}")
    if creation and "{{password}}" not in text:
        warnings.append("creation_statements do not use {{password}}: the credential cannot log in with it")
    if creation and "{{expiration}}" not in text:
        warnings.append("creation_statements do not use {{expiration}}: the target itself ends nothing")
    if any(_OBJECT_GRANT.search(statement) for statement in creation):
        warnings.append(
            "rights granted to each user slow every object down; grant them to a group role instead"
        )
    if not creation and not recipe.group_role:
        warnings.append("no group_role and no creation_statements: users will have no rights of their own")
    return tuple(warnings)
