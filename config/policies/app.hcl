# A service: leases one database login, reads its own settings, looks after what it holds. Nothing else.
# secretd policy write app config/policies/app.hcl

path "database/creds/app" {
  capabilities = ["read"]
}

path "secret/data/app/*" {
  capabilities = ["read"]
}

path "sys/leases/renew" {
  capabilities = ["update"]
}

path "sys/leases/revoke" {
  capabilities = ["update"]
}
