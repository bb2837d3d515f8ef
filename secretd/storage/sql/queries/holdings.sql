-- Who holds what: an operator's questions. Each query is led by what its index is for; the other filters only drop rows.
-- Pages go by id. OFFSET 0 keeps the second table a look-up by id: then the limit ends the work, whatever the planner thinks of the filters.
-- No recipe is read. `now()` and not `clock_timestamp()` where an index is to be used: these answers decide nothing.

-- name: list_leases_of_account
-- Leases of an account on a target.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT f.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM lease_facts f CROSS JOIN LATERAL (
  SELECT state, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time,
    end_reason, revoked_time, receipt
  FROM leases l WHERE l.id = f.id
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0) OFFSET 0) l
WHERE f.namespace_id = $1 AND f.id > $2 AND f.id < $3 AND account_name = $8
  AND ($4::text = '' OR target = $4)
  AND ($5::text = '' OR role = $5)
  AND ($6::text = '' OR mount_id = $6)
  AND ($7::text = '' OR (display_name = $7 OR entity_id = $7 AND entity_id <> '' OR token_id = (SELECT t.id FROM tokens t WHERE t.accessor = $7)))
ORDER BY f.id LIMIT $12;

-- name: list_failing_leases
-- Leases whose end failed, and is tried again.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT l.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM leases l CROSS JOIN LATERAL (
  SELECT mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address, created_time
  FROM lease_facts f WHERE f.id = l.id
  AND ($4::text = '' OR target = $4)
  AND ($5::text = '' OR role = $5)
  AND ($6::text = '' OR mount_id = $6)
  AND ($7::text = '' OR (display_name = $7 OR entity_id = $7 AND entity_id <> '' OR token_id = (SELECT t.id FROM tokens t WHERE t.accessor = $7)))
  AND ($8::text = '' OR account_name = $8) OFFSET 0) f
WHERE l.namespace_id = $1 AND l.id > $2 AND l.id < $3 AND $11::boolean AND state = 'revoking' AND attempts > 0
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
ORDER BY l.id LIMIT $12;

-- name: list_leases_of_name
-- Leases whose holder's token has this display name.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT f.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM lease_facts f CROSS JOIN LATERAL (
  SELECT state, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time,
    end_reason, revoked_time, receipt
  FROM leases l WHERE l.id = f.id
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0) OFFSET 0) l
WHERE f.namespace_id = $1 AND f.id > $2 AND f.id < $3 AND display_name = $7
  AND ($4::text = '' OR target = $4)
  AND ($5::text = '' OR role = $5)
  AND ($6::text = '' OR mount_id = $6)
  AND ($8::text = '' OR account_name = $8)
ORDER BY f.id LIMIT $12;

-- name: list_leases_of_entity
-- Leases of an entity.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT f.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM lease_facts f CROSS JOIN LATERAL (
  SELECT state, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time,
    end_reason, revoked_time, receipt
  FROM leases l WHERE l.id = f.id
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0) OFFSET 0) l
WHERE f.namespace_id = $1 AND f.id > $2 AND f.id < $3 AND entity_id = $7 AND entity_id <> ''
  AND ($4::text = '' OR target = $4)
  AND ($5::text = '' OR role = $5)
  AND ($6::text = '' OR mount_id = $6)
  AND ($8::text = '' OR account_name = $8)
ORDER BY f.id LIMIT $12;

-- name: list_leases_of_token
-- Leases of the token with this accessor.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT f.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM lease_facts f CROSS JOIN LATERAL (
  SELECT state, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time,
    end_reason, revoked_time, receipt
  FROM leases l WHERE l.id = f.id
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0) OFFSET 0) l
WHERE f.namespace_id = $1 AND f.id > $2 AND f.id < $3 AND token_id = (SELECT t.id FROM tokens t WHERE t.accessor = $7)
  AND ($4::text = '' OR target = $4)
  AND ($5::text = '' OR role = $5)
  AND ($6::text = '' OR mount_id = $6)
  AND ($8::text = '' OR account_name = $8)
ORDER BY f.id LIMIT $12;

-- name: list_leases_of_target
-- Leases on a target.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT f.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM lease_facts f CROSS JOIN LATERAL (
  SELECT state, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time,
    end_reason, revoked_time, receipt
  FROM leases l WHERE l.id = f.id
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0) OFFSET 0) l
WHERE f.namespace_id = $1 AND f.id > $2 AND f.id < $3 AND target = $4
  AND ($5::text = '' OR role = $5)
  AND ($6::text = '' OR mount_id = $6)
  AND ($7::text = '' OR (display_name = $7 OR entity_id = $7 AND entity_id <> '' OR token_id = (SELECT t.id FROM tokens t WHERE t.accessor = $7)))
  AND ($8::text = '' OR account_name = $8)
ORDER BY f.id LIMIT $12;

-- name: list_leases_of_mount_role
-- Leases of a role of one mount.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT f.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM lease_facts f CROSS JOIN LATERAL (
  SELECT state, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time,
    end_reason, revoked_time, receipt
  FROM leases l WHERE l.id = f.id
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0) OFFSET 0) l
WHERE f.namespace_id = $1 AND f.id > $2 AND f.id < $3 AND role = $5 AND mount_id = $6
  AND ($4::text = '' OR target = $4)
  AND ($7::text = '' OR (display_name = $7 OR entity_id = $7 AND entity_id <> '' OR token_id = (SELECT t.id FROM tokens t WHERE t.accessor = $7)))
  AND ($8::text = '' OR account_name = $8)
ORDER BY f.id LIMIT $12;

-- name: list_leases_of_role
-- Leases of a role, in whatever mount.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT f.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM lease_facts f CROSS JOIN LATERAL (
  SELECT state, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time,
    end_reason, revoked_time, receipt
  FROM leases l WHERE l.id = f.id
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0) OFFSET 0) l
WHERE f.namespace_id = $1 AND f.id > $2 AND f.id < $3 AND role = $5
  AND ($4::text = '' OR target = $4)
  AND ($6::text = '' OR mount_id = $6)
  AND ($7::text = '' OR (display_name = $7 OR entity_id = $7 AND entity_id <> '' OR token_id = (SELECT t.id FROM tokens t WHERE t.accessor = $7)))
  AND ($8::text = '' OR account_name = $8)
ORDER BY f.id LIMIT $12;

-- name: list_leases_of_mount
-- Leases of a mount.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT f.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM lease_facts f CROSS JOIN LATERAL (
  SELECT state, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time,
    end_reason, revoked_time, receipt
  FROM leases l WHERE l.id = f.id
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0) OFFSET 0) l
WHERE f.namespace_id = $1 AND f.id > $2 AND f.id < $3 AND mount_id = $6
  AND ($4::text = '' OR target = $4)
  AND ($5::text = '' OR role = $5)
  AND ($7::text = '' OR (display_name = $7 OR entity_id = $7 AND entity_id <> '' OR token_id = (SELECT t.id FROM tokens t WHERE t.accessor = $7)))
  AND ($8::text = '' OR account_name = $8)
ORDER BY f.id LIMIT $12;

-- name: list_leases_of_state
-- Leases in a state that few are in.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT l.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM leases l CROSS JOIN LATERAL (
  SELECT mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address, created_time
  FROM lease_facts f WHERE f.id = l.id
  AND ($4::text = '' OR target = $4)
  AND ($5::text = '' OR role = $5)
  AND ($6::text = '' OR mount_id = $6)
  AND ($7::text = '' OR (display_name = $7 OR entity_id = $7 AND entity_id <> '' OR token_id = (SELECT t.id FROM tokens t WHERE t.accessor = $7)))
  AND ($8::text = '' OR account_name = $8) OFFSET 0) f
WHERE l.namespace_id = $1 AND l.id > $2 AND l.id < $3 AND state = $9 AND state <> 'active'
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0)
ORDER BY l.id LIMIT $12;

-- name: list_expiring_leases
-- Leases that end soon.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT l.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM leases l CROSS JOIN LATERAL (
  SELECT mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address, created_time
  FROM lease_facts f WHERE f.id = l.id
  AND ($4::text = '' OR target = $4)
  AND ($5::text = '' OR role = $5)
  AND ($6::text = '' OR mount_id = $6)
  AND ($7::text = '' OR (display_name = $7 OR entity_id = $7 AND entity_id <> '' OR token_id = (SELECT t.id FROM tokens t WHERE t.accessor = $7)))
  AND ($8::text = '' OR account_name = $8) OFFSET 0) f
WHERE l.namespace_id = $1 AND l.id > $2 AND l.id < $3 AND state = 'active' AND due_time <= now() + make_interval(secs => $10)
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0)
ORDER BY l.id LIMIT $12;

-- name: list_known_leases
-- Leases, whatever they are.
-- $1 namespace id
-- $2 last id of the page before
-- $3 first id after the prefix's range
-- $4 target or ''
-- $5 role or ''
-- $6 mount id or ''
-- $7 holder: display name, entity id or token accessor, or ''
-- $8 account name or ''
-- $9 state or '' = not over
-- $10 ends within so many seconds, or null
-- $11 only those whose end failed
-- $12 limit
SELECT l.id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM leases l CROSS JOIN LATERAL (
  SELECT mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address, created_time
  FROM lease_facts f WHERE f.id = l.id
  AND ($4::text = '' OR target = $4)
  AND ($5::text = '' OR role = $5)
  AND ($6::text = '' OR mount_id = $6)
  AND ($7::text = '' OR (display_name = $7 OR entity_id = $7 AND entity_id <> '' OR token_id = (SELECT t.id FROM tokens t WHERE t.accessor = $7)))
  AND ($8::text = '' OR account_name = $8) OFFSET 0) f
WHERE l.namespace_id = $1 AND l.id > $2 AND l.id < $3
  AND (state = $9::text OR $9 = '' AND state IN ('pending', 'active', 'revoking'))
  AND ($10::float8 IS NULL OR state = 'active' AND due_time <= now() + make_interval(secs => $10))
  AND (NOT $11::boolean OR state = 'revoking' AND attempts > 0)
ORDER BY l.id LIMIT $12;

-- name: find_holder
-- What a holder's word is here: the display name, the entity or the token accessor of some lease.
-- $1 the word
SELECT EXISTS (SELECT FROM lease_facts WHERE display_name = $1) AS is_name,
  EXISTS (SELECT FROM lease_facts WHERE entity_id = $1 AND entity_id <> '') AS is_entity,
  EXISTS (SELECT FROM tokens WHERE accessor = $1) AS is_token;

-- name: list_next_leases
-- The leases that are due first, the most overdue before all others.
-- $1 namespace id
-- $2 limit
SELECT id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM known_leases WHERE namespace_id = $1 AND state IN ('pending', 'active', 'revoking') ORDER BY due_time LIMIT $2;

-- name: find_known_lease
-- One lease, over or not.
-- $1 namespace id
-- $2 id
SELECT id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM known_leases WHERE namespace_id = $1 AND id = $2;

-- name: list_account_leases
-- All leases of an account, over or not, the last one first.
-- $1 namespace id
-- $2 account name
-- $3 limit
SELECT id, state, mount_id, secret_type, path, role, target, account_name, token_accessor, entity_id, display_name, client_address,
  created_time, issued_time, expire_time, max_expire_time, renewed_time, due_time, attempts, last_error, first_failed_time, end_reason,
  revoked_time, receipt, extract(epoch FROM expire_time - clock_timestamp())::float8 AS ttl
FROM known_leases WHERE namespace_id = $1 AND account_name = $2 ORDER BY created_time DESC, id LIMIT $3;

-- name: hasten_lease
-- An operator asks again: a failed end is due now.
-- $1 namespace id
-- $2 id
-- $3 generation
UPDATE leases SET due_time = clock_timestamp() WHERE namespace_id = $1 AND id = $2 AND generation = $3 AND state = 'revoking' AND attempts > 0;

-- name: abandon_lease
-- An operator drops a lease whose end was begun: the row stays as a tombstone that names the account.
-- $1 namespace id
-- $2 id
-- $3 generation
-- $4 reason
UPDATE leases l SET state = 'abandoned', revoked_time = clock_timestamp(), end_reason = $4, claim_epoch = claim_epoch + 1
FROM lease_facts f WHERE f.id = l.id AND l.namespace_id = $1 AND l.id = $2 AND l.generation = $3 AND l.state = 'revoking'
RETURNING l.id, f.account_name, f.target, l.attempts, l.last_error;

-- name: cap_lease
-- An end that an operator planned: no renewal passes it, and an end that comes earlier stays.
-- $1 id
-- $2 generation
-- $3 seconds from now, or null
-- $4 a moment, or null
UPDATE leases SET expire_time = least(expire_time, cap.moment), max_expire_time = least(max_expire_time, cap.moment),
  due_time = least(expire_time, cap.moment), end_reason = CASE WHEN cap.moment <= expire_time THEN 'planned by an operator' ELSE end_reason END
FROM (SELECT greatest(coalesce($4::timestamptz, clock_timestamp() + make_interval(secs => $3::float8)), clock_timestamp()) AS moment) AS cap
WHERE id = $1 AND generation = $2 AND state = 'active' AND expire_time > clock_timestamp()
RETURNING expire_time, max_expire_time, extract(epoch FROM expire_time - clock_timestamp())::float8 AS lease_duration;
