-- name: find_entry
-- One entry.
-- $1 namespace id
-- $2 key
SELECT value, version FROM entries WHERE namespace_id = $1 AND key = $2;

-- name: find_entries
-- Several entries at once, in key order.
-- $1 namespace id
-- $2 prefix
-- $3 first key after the prefix's range
-- $4 limit
SELECT key, value, version FROM entries WHERE namespace_id = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4;

-- name: lock_entry
-- One entry, held against other writers until the transaction ends.
-- $1 namespace id
-- $2 key
SELECT value, version FROM entries WHERE namespace_id = $1 AND key = $2 FOR UPDATE;

-- name: insert_entry
-- Write an entry that must not be there; no row = it is.
-- $1 namespace id
-- $2 key
-- $3 value (bound to version 1)
INSERT INTO entries (namespace_id, key, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING version;

-- name: update_entry
-- Replace an entry that still has the version that was read; no row = it has not.
-- $1 namespace id
-- $2 key
-- $3 value (bound to version + 1)
-- $4 version that was read
UPDATE entries SET value = $3, version = version + 1 WHERE namespace_id = $1 AND key = $2 AND version = $4 RETURNING version;

-- name: find_entry_version
-- The version of an entry, for a write that does not care what was there.
-- $1 namespace id
-- $2 key
SELECT version FROM entries WHERE namespace_id = $1 AND key = $2;

-- name: delete_entry
-- Remove one entry.
-- $1 namespace id
-- $2 key
DELETE FROM entries WHERE namespace_id = $1 AND key = $2;

-- name: delete_entries
-- Remove all entries of a range.
-- $1 namespace id
-- $2 prefix
-- $3 first key after the prefix's range
DELETE FROM entries WHERE namespace_id = $1 AND key >= $2 AND key < $3;

-- name: list_names
-- Names directly under a prefix, by skipping from one to the next: the work grows with the names, not the keys.
-- $1 namespace id
-- $2 prefix (ends in / or is empty)
-- $3 name after which to begin
-- $4 limit
-- $5 first key after the prefix's range: without it the last step would search to the table's end
WITH RECURSIVE names AS (
  (SELECT left(substr(e.key, length($2::text) + 1), nullif(strpos(substr(e.key, length($2) + 1), '/'), 0)) AS folder,
          substr(e.key, length($2) + 1) AS rest, 1 AS n
   FROM entries e
   WHERE e.namespace_id = $1 AND e.key < $5
     AND e.key > CASE WHEN right($3::text, 1) = '/' THEN $2 || $3 || U&'\+10FFFF' ELSE $2 || $3 END
   ORDER BY e.key LIMIT 1)
  UNION ALL
  SELECT next.folder, next.rest, names.n + 1
  FROM names CROSS JOIN LATERAL (
    SELECT left(substr(e.key, length($2) + 1), nullif(strpos(substr(e.key, length($2) + 1), '/'), 0)) AS folder,
           substr(e.key, length($2) + 1) AS rest
    FROM entries e
    WHERE e.namespace_id = $1 AND e.key < $5
      AND e.key > CASE WHEN names.folder IS NULL THEN $2 || names.rest ELSE $2 || names.folder || U&'\+10FFFF' END
    ORDER BY e.key LIMIT 1) AS next
  WHERE names.n < $4::int
)
SELECT coalesce(folder, rest) AS name FROM names;
