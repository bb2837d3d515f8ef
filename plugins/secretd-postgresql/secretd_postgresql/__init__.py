"""Leased logins on PostgreSQL."""
