"""Where secretd answers otherwise than OpenBao 2.7.2, and why. What is not listed here fails the differential run.

``request`` and ``what`` are texts with ``*`` for anything: the label and the difference as the run prints them.
An entry that nothing matches any more fails the run, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """A difference that is meant."""

    request: str
    what: str
    reason: str

    def covers(self, label: str, found: str) -> bool:
        """Whether this is it."""
        return _matches(self.request, label) and _matches(self.what, found)


def _matches(pattern: str, text: str) -> bool:
    return (
        re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.DOTALL) is not None
    )


# What every error has beyond Vault's.
EXTRAS = (
    Difference("*", "$.request_id absent -> text", "every error carries its request's id"),
    Difference("*", "$.code absent -> text", "every error carries a stable code"),
    Difference("*", "$.hint absent -> text", "an error says what to do next where that is known"),
)
_ERRORS = (
    Difference("*", "$.errors empty list -> list", "a refusal says why"),
    Difference("*", "status 500 -> 400", "a caller's mistake is no failure of the server"),
)
_WIRE = (
    Difference(
        "*PATCH *", "status 400 -> 415", "a PATCH that is no merge patch is an unsupported media type"
    ),
    Difference("*: HEAD *", "status 405 -> 200", "HEAD is GET without the body, as HTTP has it"),
    Difference("*: OPTIONS *", "status 400 -> 405", "an unsupported method is a 405"),
    Difference("*: LIST *", "status 404 -> 405", "a path that has no list says so"),
    Difference('*{"a": 1, "a": 2}', "status 204 -> 400", "twice the same key: which was meant is unknown"),
    Difference("*//*", "content * -> application/json", "a redirect has a JSON body"),
    Difference("elsewhere: GET /", "content * -> application/json", "a redirect has a JSON body"),
    Difference("kv1: GET kv1/.*", "status 307 -> 400", "only a double slash is cleaned for the caller"),
    Difference(
        "kv1: GET kv1/a%*", "status 404 -> 400", "an encoded slash and bytes that are no UTF-8 are refused"
    ),
    Difference("kv1: GET kv1/a%00", "content none -> application/json", "a refusal is JSON"),
    Difference("*?list=false", "$.warnings list -> null", "list=false is no unknown field"),
    Difference(
        "elsewhere: Content-Encoding*", "status 204 -> 415", "an encoded body is refused, not stored as it is"
    ),
    Difference("*/ {*", "status 400 -> 405", "a path without a name has no writes"),
    Difference("elsewhere: GET sys/mounts/", "status 404 -> 200", "trailing slashes work"),
    Difference("elsewhere: * sys", "status 307 -> 404", "no redirect to a path that is not there either"),
    Difference("*help=1", "$.id text -> absent", "OpenBao's own name for its document"),
)
_KV = (
    Difference(
        "kv2 *", "status 204 -> 400", "a negative number of versions and a boolean as a text are mistakes"
    ),
    Difference(
        'kv2 data: * {"data": null}', "status 200 -> 400", "null is no secret: OpenBao makes an empty version"
    ),
    Difference(
        'kv2 patch: * {"data": null}', "status 200 -> 400", "null patches nothing: OpenBao adds a version"
    ),
    Difference(
        "kv2 *: GET kv2/*/", "an error -> none", "the warning of a version 1 path says what was meant"
    ),
    Difference(
        "kv2 data: POST kv2/data/ *",
        "status 400 -> 404",
        "the warning of a version 1 path says what was meant",
    ),
    Difference("kv2 data: GET kv2/data/a/", "status 500 -> *", "OpenBao fails at a trailing slash"),
    Difference(
        "kv2 *: LIST kv2/*", "status 405 -> 404", "the warning of a version 1 path says what was meant"
    ),
    Difference("kv2 *: *PATCH kv2/*/none *", "content none -> application/json", "a 404 has a body"),
    Difference(
        "cubbyhole: GET cubbyhole", "status 500 -> 404", "reading the root of a cubbyhole is no failure"
    ),
    Difference(
        "kv2 subkeys: *depth=-1", "$.data.subkeys.deep null -> object", "a negative depth is no limit, as 0"
    ),
    Difference(
        "cubbyhole: GET cubbyhole", "$.errors list -> empty list", "nothing there: a 404 without texts"
    ),
)
_TOKENS = (
    Difference('token create: *"meta": {"a": 1}*', "status 200 -> 400", "metadata are texts"),
    Difference('token create: *"display_name": 7*', "status 200 -> 400", "a name is a text"),
    Difference('token lookup: *"token": 7*', "status 403 -> 400", "a token is a text"),
    Difference(
        "token create: *", "$.warnings list -> null", "OpenBao warns of policies that are not there yet"
    ),
    Difference("token revoke: POST auth/token/tidy", "status 202 -> 200", "successes are 200 or 204"),
)
_SYS = (
    Difference("health*", "$.enterprise absent -> false", "Vault's field; clients written for it read it"),
    Difference(
        "health*", "$.performance_standby* absent -> *", "Vault's field; clients written for it read it"
    ),
    Difference("health*", "$.build_date absent -> time", "Vault's field; clients written for it read it"),
    Difference("health*", "$.commit_date time -> absent", "OpenBao's own field"),
    Difference("health*sys/leader", "$.* absent -> *", "Vault's fields, also where there is one node"),
    Difference("*ha-status", "$.*cluster_address text -> empty text", "nodes talk through PostgreSQL only"),
    Difference("*", "$.*deprecation_status absent -> text", "Vault's field, for every mount"),
    Difference("*", "$.*identity/ object -> absent", "the identity store comes later"),
    Difference("*", "$.*.entity_id text -> empty text", "the identity store comes later"),
    Difference("*", "$.*passthrough_request_headers list -> absent", "sys passes no headers on"),
    Difference("*", "$.*seal_wrap true -> false", "there is no seal wrapping"),
    Difference("mounts: *options*", "status 200 -> 204", "an upgrade is done when the call has answered"),
    Difference("mounts: *options*", "$ object -> null", "an upgrade is done when the call has answered"),
    Difference("remount: *", "$.warnings list -> null", "a move is done when the call has answered"),
    Difference("policies: GET *", "$.*allow_* false -> absent", "a policy has name and text, nothing more"),
    Difference(
        "policies: GET *", "$.*cas_required false -> absent", "a policy has name and text, nothing more"
    ),
    Difference("policies: GET *", "$.*modified time -> absent", "a policy has name and text, nothing more"),
    Difference("policies: GET *", "$.*version * -> absent", "a policy has name and text, nothing more"),
    Difference(
        "leases: LIST sys/leases/lookup",
        "status 200 -> 404",
        "tokens are no leases here, and there is no other yet",
    ),
    Difference("leases: POST sys/leases/tidy", "status 202 -> 200", "successes are 200 or 204"),
    Difference("*: GET sys/leases/count", "status 404 -> 200", "without a type all leases are counted"),
)
_LOGINS = (
    Difference(
        "userpass: GET auth/up/users/bob",
        "$.data.*ttl number -> absent",
        "old names are read, new ones answered",
    ),
    Difference('userpass: *"password": 7*', "status 204 -> 400", "a password is a text"),
    Difference("*: @none GET auth/*/login*", "status * -> 403", "without a token nothing is told of a path"),
    Difference(
        'approle: *"metadata": {"a": "b"}*', "status 400 -> 200", "an object is taken as well as its text"
    ),
    Difference("approle: LIST auth/ar/role/none/secret-id", "status 400 -> 404", "what is not there is 404"),
    Difference("approle: *-accessor/lookup*none*", "no error -> one", "a 404 has errors"),
    Difference("approle: *-accessor/destroy*none*", "status 500 -> 404", "what is not there is 404"),
    Difference(
        "approle: GET auth/ar/role/app/*", "status 200 -> 404", "a role's single fields come with identity"
    ),
    Difference(
        "approle: POST auth/ar/role/app/policies *",
        "status 204 -> 404",
        "a role's single fields come with identity",
    ),
    Difference("approle: POST auth/ar/tidy/secret-id", "status 202 -> 404", "tidying is the scheduler's"),
)
_DATABASE = (
    Difference(
        "database: GET db/config/*",
        "$.data.connection_details.* absent -> *",
        "what is in force is shown, defaults too",
    ),
    Difference(
        "database: GET db/roles/*", "$.data.group_role absent -> empty text", "our own recipe's field"
    ),
    Difference(
        "database: POST db/roles/*",
        "status 204 -> 200",
        "warnings: rights granted to each login slow a database down",
    ),
    Difference(
        "database: POST db/roles/*",
        "$ null -> object",
        "warnings: rights granted to each login slow a database down",
    ),
    Difference("database: POST db/roles/*", "status 204 -> 400", "a role that can make no login is refused"),
    Difference(
        "database: PUT sys/leases/lookup *",
        "$.data.path text -> absent",
        "OpenBao's own field: the id tells it",
    ),
)
LISTED: tuple[Difference, ...] = (
    *EXTRAS, *_ERRORS, *_WIRE, *_KV, *_TOKENS, *_SYS, *_LOGINS, *_DATABASE,
)  # fmt: skip
