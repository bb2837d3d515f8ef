"""What a program needs to talk to a secretd (or Vault, or OpenBao) server."""
