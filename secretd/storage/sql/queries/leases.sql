-- name: insert_pending_lease
-- Rules 1 and 2: the row before the account, while token, mount and role are held: no row = one of them is over.
-- $1 id
-- $2 namespace id
-- $3 generation
-- $4 fence key
-- $5 ttl in seconds
-- $6 max ttl in seconds
-- $7 issue window in seconds
-- $8 target clock minus storage clock in seconds
-- $9 mount id
-- $10 token id
-- $11 key of the role's entry
-- $12 secret type
-- $13 path
-- $14 role
-- $15 target
-- $16 account name
-- $17 recipe
-- $18 client address
WITH parent AS MATERIALIZED (
  SELECT t.id, t.accessor, t.entity_id, t.display_name, extract(epoch FROM t.expire_time - clock_timestamp())::float8 AS ttl
  FROM tokens t JOIN mounts m ON m.id = $9 JOIN entries e ON e.namespace_id = $2 AND e.key = $11
  WHERE t.id = $10 AND t.state = 'active' AND (t.expire_time IS NULL OR t.expire_time > clock_timestamp()) AND m.state = 'active'
  FOR SHARE),
lease AS (
  INSERT INTO leases (id, namespace_id, generation, state, fence_key, ttl, max_ttl, issue_deadline, target_deadline, due_time)
  SELECT $1, $2, $3, 'pending', $4, make_interval(secs => greatest(least($5::float8, parent.ttl), 0)), make_interval(secs => $6::float8),
    now() + make_interval(secs => $7::float8), now() + make_interval(secs => $7 + $8::float8), now() + make_interval(secs => $7)
  FROM parent RETURNING id, ttl, target_deadline),
facts AS (
  INSERT INTO lease_facts (id, namespace_id, mount_id, secret_type, path, role, target, account_name, token_id, token_accessor,
    entity_id, display_name, client_address, recipe)
  SELECT $1, $2, $9, $12, $13, $14, $15, $16, parent.id, parent.accessor, parent.entity_id, parent.display_name, $18, $17 FROM parent)
SELECT target_deadline, extract(epoch FROM ttl)::float8 AS ttl FROM lease;

-- name: activate_lease
-- Rule 7: only from pending, only before its deadline; sets the expiry there and then. No row: read the row (rule 8).
-- $1 id
-- $2 generation
UPDATE leases SET state = 'active', issued_time = clock.now, max_expire_time = clock.now + max_ttl,
  expire_time = clock.now + least(ttl, max_ttl), due_time = clock.now + least(ttl, max_ttl)
FROM (SELECT clock_timestamp() AS now) AS clock
WHERE id = $1 AND generation = $2 AND state = 'pending' AND clock_timestamp() < issue_deadline
RETURNING expire_time, extract(epoch FROM expire_time - clock_timestamp())::float8 AS lease_duration;

-- name: end_lease
-- Rule 13: an explicit end is a state, in the statement that sets the time.
-- $1 id
-- $2 generation
-- $3 reason
UPDATE leases SET state = 'revoking', expire_time = least(expire_time, clock_timestamp()), due_time = clock_timestamp(), end_reason = $3
WHERE id = $1 AND generation = $2 AND state IN ('pending', 'active');

-- name: end_leases_of_tokens
-- Rule 13 for all leases of ended tokens, in the transaction that ended them.
-- $1 keyed hashes of tokens
-- $2 generation
-- $3 reason
UPDATE leases l SET state = 'revoking', expire_time = least(expire_time, clock_timestamp()), due_time = clock_timestamp(), end_reason = $3
FROM lease_facts f WHERE f.id = l.id AND f.token_id = ANY ($1::bytea[]) AND l.generation = $2 AND l.state IN ('pending', 'active') RETURNING l.id;

-- name: end_leases_of_mount
-- Rule 13 for all leases of a mount, in the transaction that makes it unroutable.
-- $1 mount id
-- $2 generation
-- $3 reason
UPDATE leases l SET state = 'revoking', expire_time = least(expire_time, clock_timestamp()), due_time = clock_timestamp(), end_reason = $3
FROM lease_facts f WHERE f.id = l.id AND f.mount_id = $1 AND l.generation = $2 AND l.state IN ('pending', 'active') RETURNING l.id;

-- name: end_leases_by_prefix
-- Rule 13 for all leases under a path.
-- $1 namespace id
-- $2 prefix
-- $3 first id after the prefix's range
-- $4 generation
-- $5 reason
UPDATE leases SET state = 'revoking', expire_time = least(expire_time, clock_timestamp()), due_time = clock_timestamp(), end_reason = $5
WHERE namespace_id = $1 AND id >= $2 AND id < $3 AND generation = $4 AND state IN ('pending', 'active');

-- name: hasten_leases_by_prefix
-- An operator asks again: failed ends under a path are due now.
-- $1 namespace id
-- $2 prefix
-- $3 first id after the prefix's range
-- $4 generation
UPDATE leases SET due_time = clock_timestamp()
WHERE namespace_id = $1 AND id >= $2 AND id < $3 AND generation = $4 AND state = 'revoking' AND attempts > 0;

-- name: extend_lease
-- Rule 11: only while active and not expired, never past the maximum or what the target secured, never back.
-- $1 id
-- $2 generation
-- $3 increment in seconds
-- $4 until when the target lets it live (grace taken off)
UPDATE leases SET renewed_time = clock_timestamp(),
  expire_time = greatest(expire_time, least(clock_timestamp() + make_interval(secs => $3::float8), max_expire_time, $4::timestamptz)),
  due_time = greatest(expire_time, least(clock_timestamp() + make_interval(secs => $3), max_expire_time, $4))
WHERE id = $1 AND generation = $2 AND state = 'active' AND expire_time > clock_timestamp()
RETURNING expire_time, extract(epoch FROM expire_time - clock_timestamp())::float8 AS lease_duration;

-- name: shorten_lease
-- Rule 12: a smaller increment; the target is not touched.
-- $1 id
-- $2 generation
-- $3 increment in seconds
UPDATE leases SET renewed_time = clock_timestamp(), expire_time = least(expire_time, clock_timestamp() + make_interval(secs => $3::float8)),
  due_time = least(expire_time, clock_timestamp() + make_interval(secs => $3))
WHERE id = $1 AND generation = $2 AND state = 'active' AND expire_time > clock_timestamp()
RETURNING expire_time, extract(epoch FROM expire_time - clock_timestamp())::float8 AS lease_duration;

-- name: find_lease_to_renew
-- A lease that may be renewed, its recipe, its limits, and how much the holder's token leaves it.
-- $1 id
-- $2 namespace id
-- $3 wanted seconds
SELECT l.id, l.fence_key, l.expire_time, l.max_expire_time, f.account_name, f.recipe, f.mount_id, f.secret_type, f.path,
  extract(epoch FROM l.expire_time - clock_timestamp())::float8 AS remaining, extract(epoch FROM l.ttl)::float8 AS ttl,
  extract(epoch FROM l.max_expire_time - clock_timestamp())::float8 AS remaining_max,
  extract(epoch FROM t.expire_time - clock_timestamp())::float8 AS remaining_token,
  least(clock_timestamp() + make_interval(secs => $3::float8), l.max_expire_time, t.expire_time) AS until
FROM leases l JOIN lease_facts f USING (id) LEFT JOIN tokens t ON t.id = f.token_id
WHERE l.id = $1 AND l.namespace_id = $2 AND l.state = 'active' AND l.expire_time > clock_timestamp();

-- name: claim_due_leases
-- Rules 14 and 15. now() may lag, which only delays; FOR UPDATE tests again on the newest row version.
-- $1 generation
-- $2 limit
-- $3 claim in seconds
WITH due AS (SELECT id FROM leases WHERE due_time <= now() AND (state IN ('pending', 'revoking') OR state = 'active' AND expire_time <= now())
  AND generation = $1 ORDER BY due_time LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE leases l SET state = 'revoking', claim_epoch = claim_epoch + 1, due_time = clock_timestamp() + make_interval(secs => $3::float8),
  end_reason = coalesce(l.end_reason, CASE WHEN l.state = 'active' THEN 'expired' ELSE 'not issued in time' END)
FROM due JOIN lease_facts f ON f.id = due.id WHERE l.id = due.id
RETURNING l.id, l.namespace_id, l.claim_epoch, l.fence_key, l.issued_time, l.target_deadline, l.attempts,
  f.account_name, f.recipe, f.mount_id, f.secret_type, f.target;

-- name: finish_leases
-- Rule 20: proved dead; only with the claim's epoch.
-- $1 ids
-- $2 epochs
-- $3 receipts
UPDATE leases l SET state = 'revoked', revoked_time = clock_timestamp(), receipt = m.receipt
FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS m (id, epoch, receipt)
WHERE l.id = m.id AND l.claim_epoch = m.epoch AND l.state = 'revoking' RETURNING l.id;

-- name: fail_leases
-- Rule 20: not proved dead; again after a back-off. An error counts as an attempt, waiting for a deadline does not.
-- $1 ids
-- $2 epochs
-- $3 error classes ('' = only waiting)
-- $4 seconds to wait
UPDATE leases l SET attempts = attempts + CASE WHEN m.error = '' THEN 0 ELSE 1 END, last_error = nullif(m.error, ''),
  first_failed_time = CASE WHEN m.error = '' THEN first_failed_time ELSE coalesce(first_failed_time, clock_timestamp()) END,
  due_time = clock_timestamp() + make_interval(secs => m.wait)
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::float8[]) AS m (id, epoch, error, wait)
WHERE l.id = m.id AND l.claim_epoch = m.epoch AND l.state = 'revoking' RETURNING l.id;

-- name: abandon_leases_by_prefix
-- An operator's force: the rows stay as tombstones that name the accounts.
-- $1 namespace id
-- $2 prefix
-- $3 first id after the prefix's range
-- $4 generation
-- $5 reason
UPDATE leases SET state = 'abandoned', revoked_time = clock_timestamp(), end_reason = $5, claim_epoch = claim_epoch + 1
WHERE namespace_id = $1 AND id >= $2 AND id < $3 AND generation = $4 AND state IN ('pending', 'active', 'revoking') RETURNING id;

-- name: find_lease_state
-- Where a lease stands: for rule 8 and for those who wait for an end.
-- $1 id
SELECT state, attempts, last_error, extract(epoch FROM expire_time - clock_timestamp())::float8 AS lease_duration FROM leases WHERE id = $1;

-- name: list_open_leases
-- Of these leases, those that are not over, and how often their end has failed.
-- $1 ids
SELECT id, attempts FROM leases WHERE id = ANY ($1::text[]) AND state IN ('pending', 'active', 'revoking');

-- name: list_open_leases_by_prefix
-- All leases under a path that are not over, and how often their end has failed.
-- $1 namespace id
-- $2 prefix
-- $3 first id after the prefix's range
-- $4 generation
SELECT id, attempts FROM leases WHERE namespace_id = $1 AND id >= $2 AND id < $3 AND generation = $4 AND state IN ('pending', 'active', 'revoking');

-- name: find_lease
-- One lease that is not over, with the operators' columns.
-- $1 namespace id
-- $2 id
SELECT l.id, l.state, l.issued_time, l.expire_time, l.max_expire_time, l.renewed_time, l.attempts, l.last_error, l.first_failed_time,
  l.end_reason, extract(epoch FROM l.expire_time - clock_timestamp())::float8 AS ttl,
  f.mount_id, f.path, f.role, f.target, f.account_name, f.token_accessor, f.entity_id, f.display_name, f.client_address, f.created_time
FROM leases l JOIN lease_facts f USING (id)
WHERE l.namespace_id = $1 AND l.id = $2 AND l.state IN ('pending', 'active', 'revoking');

-- name: list_lease_names
-- Names directly under a path among the leases that are not over.
-- $1 namespace id
-- $2 prefix
-- $3 first id after the prefix's range
SELECT DISTINCT CASE WHEN strpos(substr(id, length($2::text) + 1), '/') > 0
  THEN left(substr(id, length($2) + 1), strpos(substr(id, length($2) + 1), '/')) ELSE substr(id, length($2) + 1) END AS name
FROM leases WHERE namespace_id = $1 AND id >= $2 AND id < $3 AND state IN ('pending', 'active', 'revoking') ORDER BY 1;

-- name: count_leases_by_mount
-- Leases that are not over, by mount.
-- $1 namespace id
SELECT f.mount_id, count(*) AS leases FROM leases l JOIN lease_facts f USING (id)
WHERE l.namespace_id = $1 AND l.state IN ('pending', 'active', 'revoking') GROUP BY 1;

-- name: count_irrevocable_by_mount
-- Leases whose end failed six times or more, by mount.
-- $1 namespace id
SELECT f.mount_id, count(*) AS leases FROM leases l JOIN lease_facts f USING (id)
WHERE l.namespace_id = $1 AND l.state = 'revoking' AND l.attempts >= 6 GROUP BY 1;

-- name: list_irrevocable_leases
-- Leases whose end failed six times or more: hands are needed, trying goes on.
-- $1 namespace id
-- $2 limit
SELECT l.id, l.attempts, l.last_error, f.mount_id, f.account_name, f.target FROM leases l JOIN lease_facts f USING (id)
WHERE l.namespace_id = $1 AND l.state = 'revoking' AND l.attempts >= 6 ORDER BY l.id LIMIT $2;

-- name: count_mount_leases
-- Leases of a mount that are not over.
-- $1 mount id
-- $2 role or '' for all
-- $3 target or '' for all
SELECT count(*) AS leases FROM leases l JOIN lease_facts f USING (id)
WHERE f.mount_id = $1 AND ($2::text = '' OR f.role = $2) AND ($3::text = '' OR f.target = $3) AND l.state IN ('pending', 'active', 'revoking');

-- name: count_leases_by_state
-- For metrics: how many leases are in each state, how late the latest due one is, how many ends failed, and for how many
-- seconds the oldest one whose time is over is not over. A failed end is due later, but its age goes on.
SELECT state, count(*) AS leases, coalesce(max(extract(epoch FROM now() - due_time)) FILTER (WHERE due_time < now()), 0)::float8 AS lateness,
  count(*) FILTER (WHERE state = 'revoking' AND attempts > 0) AS failing,
  greatest(coalesce(max(extract(epoch FROM now() - coalesce(expire_time, issue_deadline))), 0), 0)::float8 AS unrevoked_age
FROM leases WHERE state IN ('pending', 'active', 'revoking') GROUP BY state;

-- name: delete_old_leases
-- Forget leases that ended long ago. Tombstones stay.
-- $1 seconds
-- $2 limit
DELETE FROM leases WHERE id IN (SELECT id FROM leases WHERE state = 'revoked'
  AND revoked_time < clock_timestamp() - make_interval(secs => $1::float8) LIMIT $2) RETURNING id;
