-- Who holds what: indexes that page by id, and the operators' view. schema.sql explains each.

-- Operators' questions (queries/holdings.sql): pages by id within what was asked for.
DROP INDEX lease_facts_target;
CREATE INDEX lease_facts_target ON lease_facts (target, id);
DROP INDEX lease_facts_mount;
CREATE INDEX lease_facts_mount ON lease_facts (mount_id, role, id);
DROP INDEX lease_facts_holder;
CREATE INDEX lease_facts_holder ON lease_facts (display_name, id);
CREATE INDEX lease_facts_role ON lease_facts (role, id);
CREATE INDEX lease_facts_path ON lease_facts (mount_id, id);
CREATE INDEX lease_facts_entity ON lease_facts (entity_id, id) WHERE entity_id <> '';
CREATE INDEX leases_failing ON leases (id) WHERE state = 'revoking' AND attempts > 0;
CREATE INDEX leases_unusual ON leases (state, id) WHERE state <> 'active';

-- What an operator may see of a lease: never its recipe.
CREATE VIEW known_leases AS
SELECT id, l.namespace_id, l.generation, l.state, l.ttl AS granted_ttl, l.issue_deadline, l.issued_time, l.expire_time, l.max_expire_time,
  l.renewed_time, l.due_time, l.attempts, l.first_failed_time, l.last_error, l.end_reason, l.revoked_time, l.receipt,
  f.mount_id, f.secret_type, f.path, f.role, f.target, f.account_name, f.token_id, f.token_accessor, f.entity_id, f.display_name,
  f.client_address, f.created_time
FROM leases l JOIN lease_facts f USING (id);
