# Whoever runs secretd: mounts, policies, audit, keys, leases. It reads no secret of any mount.

path "sys/mounts" {
  capabilities = ["read"]
}

path "sys/mounts/*" {
  capabilities = ["create", "read", "update", "delete", "sudo"]
}

path "sys/auth" {
  capabilities = ["read"]
}

path "sys/auth/*" {
  capabilities = ["create", "read", "update", "delete", "sudo"]
}

path "sys/policies/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "sys/audit" {
  capabilities = ["read", "sudo"]
}

path "sys/audit/*" {
  capabilities = ["update", "delete", "sudo"]
}

path "sys/audit-hash/*" {
  capabilities = ["update"]
}

path "sys/leases/*" {
  capabilities = ["read", "update", "list", "sudo"]
}

path "sys/rotate" {
  capabilities = ["update", "sudo"]
}

path "sys/key-status" {
  capabilities = ["read"]
}

path "sys/seal" {
  capabilities = ["update", "sudo"]
}

path "sys/metrics" {
  capabilities = ["read"]
}
