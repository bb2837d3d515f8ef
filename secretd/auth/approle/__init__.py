"""Logins of programs: a role id that says who, and a secret id that proves it."""
