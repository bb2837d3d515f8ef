-- name: list_mounts
-- Every mount; the router is made from this.
-- $1 namespace id
SELECT id, kind, path, type, accessor, state, config FROM mounts WHERE namespace_id = $1 ORDER BY path;

-- name: insert_mount
-- Make a mount; no row = something is at that path.
-- $1 id
-- $2 namespace id
-- $3 kind
-- $4 path
-- $5 type
-- $6 accessor
-- $7 config as JSON
INSERT INTO mounts (id, namespace_id, kind, path, type, accessor, config) VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb)
ON CONFLICT (namespace_id, path) DO NOTHING RETURNING id;

-- name: update_mount_config
-- Tune a mount.
-- $1 id
-- $2 config as JSON
UPDATE mounts SET config = $2::jsonb WHERE id = $1 AND state = 'active';

-- name: move_mount
-- Give a mount another path.
-- $1 id
-- $2 new path
UPDATE mounts SET path = $2 WHERE id = $1 AND state = 'active';

-- name: begin_disabling_mount
-- Make a mount unroutable; from here nothing is born under it.
-- $1 id
UPDATE mounts SET state = 'disabling' WHERE id = $1;

-- name: delete_mount
-- Forget a mount whose leases are over.
-- $1 id
DELETE FROM mounts WHERE id = $1 AND state = 'disabling';

-- name: list_disabling_mounts
-- Mounts whose end was begun and not finished.
SELECT id, kind, path, type, accessor, state, config FROM mounts WHERE state = 'disabling' ORDER BY id;

-- name: insert_timer
-- Register a mount's timed work; its first turn comes one period from now.
-- $1 mount id
-- $2 name
-- $3 period in seconds
INSERT INTO timers (mount_id, name, period, due_time)
VALUES ($1, $2, make_interval(secs => $3::float8), clock_timestamp() + make_interval(secs => $3::float8)) ON CONFLICT DO NOTHING;

-- name: claim_due_timers
-- Take timed work that is due, for a minute.
-- $1 limit
WITH due AS (SELECT mount_id, name FROM timers WHERE due_time <= now() ORDER BY due_time LIMIT $1 FOR UPDATE SKIP LOCKED)
UPDATE timers t SET claim_epoch = t.claim_epoch + 1, due_time = clock_timestamp() + interval '60 seconds'
FROM due WHERE t.mount_id = due.mount_id AND t.name = due.name RETURNING t.mount_id, t.name, t.claim_epoch, t.attempts;

-- name: finish_timer
-- Timed work is done; its next turn comes one period from now.
-- $1 mount id
-- $2 name
-- $3 epoch of the claim
UPDATE timers SET attempts = 0, last_error = NULL, due_time = clock_timestamp() + period
WHERE mount_id = $1 AND name = $2 AND claim_epoch = $3;

-- name: fail_timer
-- Timed work failed; it comes again after a back-off.
-- $1 mount id
-- $2 name
-- $3 epoch of the claim
-- $4 error class
-- $5 seconds to wait
UPDATE timers SET attempts = attempts + 1, last_error = $4, due_time = clock_timestamp() + make_interval(secs => $5::float8)
WHERE mount_id = $1 AND name = $2 AND claim_epoch = $3;
