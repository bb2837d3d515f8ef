-- name: find_migrations_table
-- Say whether this database has ever been migrated.
SELECT to_regclass('migrations') IS NOT NULL AS present

-- name: list_migrations
-- Read what has been applied, in order.
SELECT name, checksum, applied_time FROM migrations ORDER BY name

-- name: insert_migration
-- Record a migration in the transaction that applied it.
-- $1 name of the file without its ending
-- $2 SHA-256 of its text, in hex
INSERT INTO migrations (name, checksum) VALUES ($1, $2)
