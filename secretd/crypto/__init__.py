"""Bytes to bytes: encryption, keys, seals and digests. No I/O, no clock."""
