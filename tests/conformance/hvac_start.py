"""Starts one fresh secretd for hvac's own integration suite.

``hvac_start.py ADDRESS TLS_CERT TLS_KEY TLS_CLIENT_CA DATA_DIR INSTANCE`` writes a configuration into DATA_DIR
(empty, made by the harness) and becomes ``secretd server``: uninitialised, TLS, an embedded PostgreSQL of its
own. Client certificates are asked for and any is taken, so TLS_CLIENT_CA is not needed; nor is INSTANCE.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

CONFIG = """
[storage]
url = "embedded:{data}/postgres"

[[listener]]
address = "{address}"
tls_cert = "{cert}"
tls_key = "{key}"
client_certs = "request"

[api]
address = "https://{address}"
audit_api_dir = "{audit}"

[plugins]
allow = ["secretd-postgresql"]
user = "{user}"

[log]
level = "warning"
format = "json"
"""
AUDIT = tempfile.gettempdir()  # hvac's tests name their audit files there


def main(address: str, cert: str, key: str, _client_ca: str, data: str, _instance: str) -> None:
    """Write the configuration and become the server."""
    config = Path(data) / "secretd.toml"
    user = "root" if os.geteuid() == 0 else ""
    config.write_text(
        CONFIG.format(address=address, cert=cert, key=key, data=data, audit=AUDIT, user=user),
        encoding="utf-8",
    )
    os.execv(sys.executable, [sys.executable, "-m", "secretd.cli.main", "server", f"--config={config}"])


if __name__ == "__main__":
    main(*sys.argv[1:])
