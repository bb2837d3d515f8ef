"""Logins of databases, leased: Vault's ``database`` engine over plugins that run out of process."""
