"""Versioned (v2) and plain (v1) key-value storage."""
