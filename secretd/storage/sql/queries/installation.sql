-- name: get_installation
-- The one row of this installation and storage's clock.
SELECT id, lease_generation, clock_timestamp() AS now FROM installation;

-- name: get_clock
-- Storage's clock, for measuring offsets.
SELECT clock_timestamp() AS now;

-- name: get_generations
-- The numbers that say whether what a daemon caches is stale.
-- $1 namespace id
SELECT mounts, policies, keyring, quotas, identity, audit FROM generations WHERE namespace_id = $1;

-- name: bump_mounts
-- Say that mounts changed, in the transaction that changed them.
-- $1 namespace id
UPDATE generations SET mounts = mounts + 1 WHERE namespace_id = $1;

-- name: bump_policies
-- Say that policies changed.
-- $1 namespace id
UPDATE generations SET policies = policies + 1 WHERE namespace_id = $1;

-- name: bump_keyring
-- Say that the keyring changed.
-- $1 namespace id
UPDATE generations SET keyring = keyring + 1 WHERE namespace_id = $1;

-- name: bump_audit
-- Say that the audit devices changed.
-- $1 namespace id
UPDATE generations SET audit = audit + 1 WHERE namespace_id = $1;

-- name: find_seal_record
-- One of the records that are needed before the barrier is open.
-- $1 name
SELECT value, version FROM seal_records WHERE name = $1;

-- name: insert_seal_record
-- Write a record that must not be there yet: two daemons that initialise at once cannot both win.
-- $1 name
-- $2 value
INSERT INTO seal_records (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: update_seal_record
-- Replace a record, if it still has the version that was read.
-- $1 name
-- $2 value
-- $3 version that was read
UPDATE seal_records SET value = $2, version = version + 1 WHERE name = $1 AND version = $3;

-- name: beat_node
-- Say that this daemon lives.
-- $1 node id
-- $2 address
-- $3 version
INSERT INTO nodes (id, address, version) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET heartbeat_time = clock_timestamp(), address = excluded.address;

-- name: delete_dead_nodes
-- Forget daemons that have been silent.
-- $1 seconds of silence
DELETE FROM nodes WHERE heartbeat_time < clock_timestamp() - make_interval(secs => $1::float8);

-- name: save_audit_head
-- Remember how far a device's chain has come; it never goes back.
-- $1 node id
-- $2 device
-- $3 sequence
-- $4 chain value in hex
-- $5 the line's time
INSERT INTO audit_heads (node_id, device, sequence, chain, line_time) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (node_id, device) DO UPDATE
SET sequence = excluded.sequence, chain = excluded.chain, line_time = excluded.line_time
WHERE audit_heads.sequence <= excluded.sequence;

-- name: list_audit_heads
-- All heads of a device's chains.
-- $1 device, or '' for all
SELECT node_id, device, sequence, chain, line_time FROM audit_heads WHERE $1::text = '' OR device = $1;
