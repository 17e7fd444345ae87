"""``python -m gateway.healthcheck``: a container's liveness; exit code 0 when the admin face's /healthz answers 200.

Asks where ``admin.listen`` says: the environment's, the settings file's ($GATEWAY_CONFIG), the default; ``--set`` is
not seen. Runs every half minute beside the gateway on a small board: standard library only, an eighth of the memory
and start time of ``gateway check``. A full outbox or a dead uplink is healthy: a restart mends neither.
"""

import http.client
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

# settings.AdminSettings' default; a test compares.
DEFAULT_LISTEN = "127.0.0.1:8081"
ANSWER_TIMEOUT_S = 10.0
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, never bound


def admin_listen(environment: Mapping[str, str]) -> str:
    """Return ``admin.listen`` as the gateway beside us sees it."""
    if given := environment.get("GATEWAY_ADMIN__LISTEN"):
        return given
    file = environment.get("GATEWAY_CONFIG")
    if not file or not Path(file).is_file():
        return DEFAULT_LISTEN
    section = tomllib.loads(Path(file).read_text(encoding="utf-8")).get("admin", {})
    return str(section.get("listen", DEFAULT_LISTEN))


def fault(listen: str) -> str:
    """Return why the gateway is not healthy; an empty text when it is."""
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        return "admin.listen is off: nothing to ask; switch it on, or the health check off"
    host = host.strip("[]")
    connection = http.client.HTTPConnection(_ANY.get(host, host), int(port), timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer at {listen}: {error}"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"/healthz answered {status}"


def main() -> int:
    """Print the fault, if there is one."""
    found = fault(admin_listen(os.environ))
    sys.stdout.write(found or "healthy")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
