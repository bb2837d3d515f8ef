# A team's own corner of a KV v2 mount: read and write, undo, but destroy nothing for good.

path "secret/data/team/*" {
  capabilities = ["create", "read", "update", "patch", "delete"]
}

path "secret/metadata/team/*" {
  capabilities = ["read", "list"]
}

path "secret/metadata/team" {
  capabilities = ["list"]
}

# `+` stands for one part of a path: delete, undelete and subkeys of the same secrets.
path "secret/+/team/*" {
  capabilities = ["read", "update", "list"]
}

path "secret/destroy/team/*" {
  capabilities = ["deny"]
}
