"""A small store of each token's own."""
