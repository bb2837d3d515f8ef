-- name: find_token
-- What every request reads once: the generations, and the token if it is good by storage's clock.
-- $1 namespace id
-- $2 keyed hash of the token, or null without one
SELECT g.mounts, g.policies, g.keyring, g.quotas, g.identity, g.audit,
  t.id, t.accessor, t.parent_id, t.mount_id, t.display_name, t.path, t.policies AS token_policies, t.metadata, t.entity_id,
  t.is_root, t.is_renewable, t.creation_time, t.creation_ttl, t.period, t.explicit_max_ttl, t.expire_time,
  t.max_expire_time, t.last_renewal_time, t.num_uses, t.uses_left, t.mac,
  extract(epoch FROM t.expire_time - clock_timestamp())::float8 AS ttl
FROM generations g LEFT JOIN tokens t ON t.id = $2 AND t.state = 'active'
  AND (t.expire_time IS NULL OR t.expire_time > clock_timestamp())
WHERE g.namespace_id = $1;

-- name: get_token
-- One good token.
-- $1 keyed hash of the token
SELECT t.*, extract(epoch FROM t.expire_time - clock_timestamp())::float8 AS ttl FROM tokens t
WHERE t.id = $1 AND t.state = 'active' AND (t.expire_time IS NULL OR t.expire_time > clock_timestamp());

-- name: find_token_by_accessor
-- One good token by its harmless handle.
-- $1 namespace id
-- $2 accessor
SELECT t.*, extract(epoch FROM t.expire_time - clock_timestamp())::float8 AS ttl FROM tokens t
WHERE t.namespace_id = $1 AND t.accessor = $2 AND t.state = 'active'
  AND (t.expire_time IS NULL OR t.expire_time > clock_timestamp());

-- name: list_accessors
-- Accessors of all good tokens.
-- $1 namespace id
SELECT accessor FROM tokens WHERE namespace_id = $1 AND state = 'active'
  AND (expire_time IS NULL OR expire_time > clock_timestamp()) ORDER BY accessor;

-- name: use_token
-- Count one use of a token with a limit; no row = used up.
-- $1 keyed hash of the token
UPDATE tokens SET uses_left = uses_left - 1 WHERE id = $1 AND state = 'active' AND uses_left > 0 RETURNING uses_left;

-- name: insert_child_token
-- Make a token under a parent that is still good, and hold the parent while doing so: no row = it is not.
-- $1 id
-- $2 namespace id
-- $3 accessor
-- $4 parent id
-- $5 display name
-- $6 path
-- $7 policies
-- $8 metadata as JSON
-- $9 entity id
-- $10 is renewable
-- $11 ttl
-- $12 period
-- $13 explicit max ttl
-- $14 max ttl
-- $15 number of uses
-- $16 is root
-- $17 is an orphan all the same
-- $18 MAC
WITH parent AS MATERIALIZED (
  SELECT id, expire_time FROM tokens WHERE id = $4 AND state = 'active' AND (expire_time IS NULL OR expire_time > clock_timestamp())
  FOR SHARE)
INSERT INTO tokens (id, namespace_id, accessor, parent_id, display_name, path, policies, metadata, entity_id, is_root, is_renewable,
  creation_ttl, period, explicit_max_ttl, expire_time, max_expire_time, num_uses, uses_left, mac)
SELECT $1, $2, $3, CASE WHEN $17 THEN NULL ELSE parent.id END, $5, $6, $7::text[], $8::jsonb, $9, $16, $10, $11, $12, $13,
  CASE WHEN $11::bigint > 0 THEN CASE WHEN $17 THEN clock_timestamp() + make_interval(secs => $11)
    ELSE least(clock_timestamp() + make_interval(secs => $11), parent.expire_time) END END,
  CASE WHEN $14::bigint > 0 THEN clock_timestamp() + make_interval(secs => $14) END, $15::int, $15, $18
FROM parent RETURNING expire_time, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl;

-- name: insert_login_token
-- Make a token at an auth mount that is still active, of a role that is still there: no row = one is not.
-- $1 id
-- $2 namespace id
-- $3 accessor
-- $4 mount id
-- $5 display name
-- $6 path
-- $7 policies
-- $8 metadata as JSON
-- $9 entity id
-- $10 is renewable
-- $11 ttl
-- $12 period
-- $13 explicit max ttl
-- $14 max ttl
-- $15 number of uses
-- $16 key of the role's entry, or ''
-- $17 MAC
WITH mount AS MATERIALIZED (SELECT id FROM mounts WHERE id = $4 AND state = 'active' FOR SHARE),
role AS MATERIALIZED (SELECT key FROM entries WHERE namespace_id = $2 AND key = $16 FOR SHARE)
INSERT INTO tokens (id, namespace_id, accessor, mount_id, display_name, path, policies, metadata, entity_id, is_renewable,
  creation_ttl, period, explicit_max_ttl, expire_time, max_expire_time, num_uses, uses_left, mac)
SELECT $1, $2, $3, mount.id, $5, $6, $7::text[], $8::jsonb, $9, $10, $11::bigint, $12, $13,
  clock_timestamp() + make_interval(secs => $11::bigint), CASE WHEN $14::bigint > 0 THEN clock_timestamp() + make_interval(secs => $14) END, $15::int, $15, $17
FROM mount WHERE $16 = '' OR EXISTS (SELECT FROM role)
RETURNING expire_time, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl;

-- name: insert_root_token
-- Make a root token from nothing: only init and recovery do.
-- $1 id
-- $2 namespace id
-- $3 accessor
-- $4 ttl in seconds, 0 = never ends
-- $5 MAC
INSERT INTO tokens (id, namespace_id, accessor, display_name, path, policies, is_root, is_renewable, creation_ttl, mac, expire_time)
VALUES ($1, $2, $3, 'root', 'auth/token/root', '{root}', true, false, $4::bigint, $5,
  CASE WHEN $4 > 0 THEN clock_timestamp() + make_interval(secs => $4) END);

-- name: renew_token
-- Move a token's end: never past its maximum, never past its parent's end, never once it is over.
-- $1 keyed hash of the token
-- $2 seconds from now
UPDATE tokens t SET last_renewal_time = clock_timestamp(),
  expire_time = least(clock_timestamp() + make_interval(secs => $2::float8), t.max_expire_time,
    (SELECT p.expire_time FROM tokens p WHERE p.id = t.parent_id))
WHERE t.id = $1 AND t.state = 'active' AND t.expire_time > clock_timestamp()
RETURNING t.*, extract(epoch FROM t.expire_time - clock_timestamp())::float8 AS ttl;

-- name: end_tokens
-- End tokens. Waits for births under them, which hold them; later statements then see the children.
-- $1 keyed hashes
-- $2 reason
UPDATE tokens SET state = 'ended', ended_time = clock_timestamp(), end_reason = $2
WHERE id = ANY ($1::bytea[]) AND state = 'active' RETURNING id;

-- name: end_child_tokens
-- End the good children of ended tokens; repeated until no row comes back.
-- $1 keyed hashes of parents
-- $2 reason
UPDATE tokens SET state = 'ended', ended_time = clock_timestamp(), end_reason = $2
WHERE parent_id = ANY ($1::bytea[]) AND state = 'active' RETURNING id;

-- name: orphan_child_tokens
-- Cut the children off, so that they survive their parent.
-- $1 keyed hash of the parent
UPDATE tokens SET parent_id = NULL WHERE parent_id = $1 AND state = 'active';

-- name: end_mount_tokens
-- End the tokens that an auth mount made, all or those of logins under a path.
-- $1 mount id
-- $2 reason
-- $3 path without a closing slash, or '' for all
UPDATE tokens SET state = 'ended', ended_time = clock_timestamp(), end_reason = $2
WHERE mount_id = $1 AND state = 'active' AND ($3::text = '' OR path = $3 OR starts_with(path, $3 || '/')) RETURNING id;

-- name: find_expired_tokens
-- Tokens whose time is over and whose tree is not ended yet.
-- $1 limit
SELECT id FROM tokens WHERE state = 'active' AND expire_time <= now() ORDER BY expire_time LIMIT $1 FOR UPDATE SKIP LOCKED;

-- name: delete_ended_tokens
-- Forget tokens that ended long ago.
-- $1 seconds
-- $2 limit
DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE state = 'ended'
  AND ended_time < clock_timestamp() - make_interval(secs => $1::float8) LIMIT $2) RETURNING id;
