-- The whole schema, to read. `migrations/` makes the same (a test compares them).
-- Every table carries a namespace id (0 = root); tenancy comes later, the column is here now.
-- Times are Postgres' own; a client never sends one.

-- This installation, one row.
CREATE TABLE installation (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  lease_generation bigint NOT NULL DEFAULT 1, -- changed by recovery, so that older processes match no lease
  created_time timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What daemons cache, and the number that says a cache is stale. Bumped in the transaction of each such write.
CREATE TABLE generations (
  namespace_id bigint PRIMARY KEY,
  mounts bigint NOT NULL DEFAULT 0,
  policies bigint NOT NULL DEFAULT 0,
  keyring bigint NOT NULL DEFAULT 0,
  quotas bigint NOT NULL DEFAULT 0,
  identity bigint NOT NULL DEFAULT 0,
  audit bigint NOT NULL DEFAULT 0
);

-- What is needed before the barrier is open: seal configuration, wrapped root key, wrapped keyring.
CREATE TABLE seal_records (
  name text PRIMARY KEY,
  value bytea NOT NULL,
  version bigint NOT NULL DEFAULT 1
);

-- Everything behind the barrier. AAD binds a value to its namespace, key and version.
CREATE TABLE entries (
  namespace_id bigint NOT NULL DEFAULT 0,
  key text COLLATE "C" NOT NULL,
  value bytea NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (namespace_id, key)
);

CREATE TABLE mounts (
  id text PRIMARY KEY,
  namespace_id bigint NOT NULL DEFAULT 0,
  kind text NOT NULL CHECK (kind IN ('secret', 'auth', 'system')),
  path text COLLATE "C" NOT NULL, -- 'database/', 'auth/userpass/'
  type text NOT NULL,
  accessor text NOT NULL UNIQUE,
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabling')),
  config jsonb NOT NULL DEFAULT '{}',
  created_time timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (namespace_id, path)
);

CREATE TABLE tokens (
  id bytea PRIMARY KEY, -- keyed hash of the token
  namespace_id bigint NOT NULL DEFAULT 0,
  accessor text NOT NULL UNIQUE,
  parent_id bytea, -- null: orphan
  mount_id text, -- the auth mount that made it
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'ended')),
  display_name text NOT NULL,
  path text NOT NULL,
  policies text[] NOT NULL,
  metadata jsonb,
  entity_id text NOT NULL DEFAULT '',
  is_root boolean NOT NULL DEFAULT false,
  is_renewable boolean NOT NULL DEFAULT true,
  creation_time timestamptz NOT NULL DEFAULT clock_timestamp(),
  creation_ttl bigint NOT NULL DEFAULT 0,
  period bigint NOT NULL DEFAULT 0,
  explicit_max_ttl bigint NOT NULL DEFAULT 0,
  expire_time timestamptz, -- null: never (root only)
  max_expire_time timestamptz,
  last_renewal_time timestamptz,
  num_uses integer NOT NULL DEFAULT 0,
  uses_left integer NOT NULL DEFAULT 0,
  ended_time timestamptz,
  end_reason text,
  mac bytea NOT NULL, -- over the columns that grant, so that a writer of this table cannot make itself root
  CHECK (is_root OR expire_time IS NOT NULL),
  CHECK (expire_time <= max_expire_time)
) WITH (fillfactor = 80);
CREATE INDEX tokens_children ON tokens (parent_id) WHERE state = 'active';
CREATE INDEX tokens_due ON tokens (expire_time) WHERE state = 'active';
CREATE INDEX tokens_mount ON tokens (mount_id) WHERE state = 'active';
CREATE INDEX tokens_ended ON tokens (ended_time) WHERE state = 'ended';

-- The narrow row of a lease's state machine (lease-protocol.md). One indexed column changes: due_time.
CREATE TABLE leases (
  id text COLLATE "C" PRIMARY KEY,
  namespace_id bigint NOT NULL DEFAULT 0,
  generation bigint NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'active', 'revoking', 'revoked', 'abandoned')),
  fence_key bigint NOT NULL,
  ttl interval NOT NULL,
  max_ttl interval NOT NULL,
  issue_deadline timestamptz NOT NULL,
  target_deadline timestamptz NOT NULL,
  issued_time timestamptz,
  expire_time timestamptz,
  max_expire_time timestamptz,
  renewed_time timestamptz,
  due_time timestamptz NOT NULL,
  claim_epoch bigint NOT NULL DEFAULT 0,
  attempts integer NOT NULL DEFAULT 0,
  first_failed_time timestamptz,
  last_error text, -- an error class, never a driver's message
  end_reason text,
  revoked_time timestamptz,
  receipt bytea,
  CHECK (state <> 'active' OR (expire_time IS NOT NULL AND issued_time IS NOT NULL AND max_expire_time IS NOT NULL)),
  CHECK (expire_time <= max_expire_time)
) WITH (fillfactor = 70);
CREATE INDEX leases_due ON leases (due_time) WHERE state IN ('pending', 'active', 'revoking');
CREATE INDEX leases_over ON leases (revoked_time) WHERE state IN ('revoked', 'abandoned');
CREATE INDEX leases_failing ON leases (id) WHERE state = 'revoking' AND attempts > 0; -- a renewal touches neither of these two
CREATE INDEX leases_unusual ON leases (state, id) WHERE state <> 'active';

-- Written once: the operators' columns in clear, and the frozen recipe as ciphertext.
CREATE TABLE lease_facts (
  id text COLLATE "C" PRIMARY KEY REFERENCES leases (id) ON DELETE CASCADE,
  namespace_id bigint NOT NULL DEFAULT 0,
  mount_id text NOT NULL,
  secret_type text NOT NULL,
  path text NOT NULL,
  role text NOT NULL,
  target text NOT NULL,
  account_name text NOT NULL,
  token_id bytea NOT NULL,
  token_accessor text NOT NULL,
  entity_id text NOT NULL DEFAULT '',
  display_name text NOT NULL DEFAULT '',
  client_address text NOT NULL DEFAULT '',
  recipe bytea NOT NULL,
  created_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX lease_facts_token ON lease_facts (token_id);
CREATE INDEX lease_facts_mount ON lease_facts (mount_id, role, id);
CREATE INDEX lease_facts_target ON lease_facts (target, id);
CREATE INDEX lease_facts_account ON lease_facts (account_name);
CREATE INDEX lease_facts_holder ON lease_facts (display_name, id);
CREATE INDEX lease_facts_role ON lease_facts (role, id);
CREATE INDEX lease_facts_path ON lease_facts (mount_id, id);
CREATE INDEX lease_facts_entity ON lease_facts (entity_id, id) WHERE entity_id <> '';

-- What an operator may see of a lease: never its recipe.
CREATE VIEW known_leases AS
SELECT id, l.namespace_id, l.generation, l.state, l.ttl AS granted_ttl, l.issue_deadline, l.issued_time, l.expire_time, l.max_expire_time,
  l.renewed_time, l.due_time, l.attempts, l.first_failed_time, l.last_error, l.end_reason, l.revoked_time, l.receipt,
  f.mount_id, f.secret_type, f.path, f.role, f.target, f.account_name, f.token_id, f.token_accessor, f.entity_id, f.display_name,
  f.client_address, f.created_time
FROM leases l JOIN lease_facts f USING (id);

-- Timed work of mounts; a failure backs off, nothing is ever unregistered.
CREATE TABLE timers (
  mount_id text NOT NULL REFERENCES mounts (id) ON DELETE CASCADE,
  name text NOT NULL,
  namespace_id bigint NOT NULL DEFAULT 0,
  period interval NOT NULL,
  due_time timestamptz NOT NULL DEFAULT clock_timestamp(),
  claim_epoch bigint NOT NULL DEFAULT 0,
  attempts integer NOT NULL DEFAULT 0,
  last_error text,
  PRIMARY KEY (mount_id, name)
);
CREATE INDEX timers_due ON timers (due_time);

CREATE TABLE nodes (
  id text PRIMARY KEY,
  namespace_id bigint NOT NULL DEFAULT 0,
  address text NOT NULL,
  version text NOT NULL,
  started_time timestamptz NOT NULL DEFAULT clock_timestamp(),
  heartbeat_time timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- How far each audit device's chain has come, so that a cut tail is noticed.
CREATE TABLE audit_heads (
  node_id text NOT NULL,
  device text NOT NULL,
  namespace_id bigint NOT NULL DEFAULT 0,
  sequence bigint NOT NULL,
  chain text NOT NULL,
  line_time text NOT NULL, -- as the line says it
  PRIMARY KEY (node_id, device)
);

INSERT INTO installation DEFAULT VALUES;
INSERT INTO generations (namespace_id) VALUES (0);
