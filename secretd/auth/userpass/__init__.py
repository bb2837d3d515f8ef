"""Logins by username and password."""
