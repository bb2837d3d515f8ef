# Whoever looks after leased logins: connections, roles and leases of the mount `database/`, but no login itself.

path "database/config/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "database/config" {
  capabilities = ["list"]
}

path "database/roles/*" {
  capabilities = ["create", "read", "update", "delete"]
}

path "database/roles" {
  capabilities = ["list"]
}

path "database/reset/*" {
  capabilities = ["update"]
}

path "database/creds/*" {
  capabilities = ["deny"]
}

path "sys/policies/password/*" {
  capabilities = ["create", "read", "update", "delete"]
}

path "sys/leases/lookup/database/*" {
  capabilities = ["list", "sudo"]
}

path "sys/leases/revoke-prefix/database/*" {
  capabilities = ["update", "sudo"]
}
