"""A real lighttpd with Basic and Digest: an HTTP server that nobody of us wrote."""

import hashlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.simulators.ports import free_port
from tests.fakes.child_process import start_child

SEARCH_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
LIGHTTPD = shutil.which("lighttpd", path=SEARCH_PATH)
START_TIMEOUT_S = 10.0
REALM = "the camera"

needs_lighttpd = pytest.mark.skipif(LIGHTTPD is None, reason="missing package: lighttpd")

_CONFIG = """
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.modules = ("mod_auth", "mod_authn_file", "mod_deflate", "mod_redirect")
mimetype.assign = (".jpg" => "image/jpeg")
auth.backend = "htdigest"
auth.backend.htdigest.userfile = "{users}"
auth.require = (
  "/basic/" => ("method" => "basic", "realm" => "{realm}", "require" => "valid-user"),
  "/md5/" => ("method" => "digest", "realm" => "{realm}", "require" => "valid-user"),
  "/sha/" => ("method" => "digest", "realm" => "{realm}", "algorithm" => "SHA-256", "require" => "valid-user"),
  "/both/" => ("method" => "digest", "realm" => "{realm}", "algorithm" => "MD5|SHA-256", "require" => "valid-user"),
)
url.redirect = ("^/moved.jpg$" => "/sha/snapshot.jpg")
"""


@contextmanager
def lighttpd(folder: Path, picture: bytes, *, username: str, password: str) -> Iterator[str]:
    """Serve ``picture`` at /open/, /basic/, /md5/, /sha/ and /both/snapshot.jpg; yields the URL."""
    root = folder / "root"
    for name in ("open", "basic", "md5", "sha", "both"):
        (root / name).mkdir(parents=True)
        (root / name / "snapshot.jpg").write_bytes(picture)
    users = folder / "users"
    secret = f"{username}:{REALM}:{password}".encode()
    hashes = (hashlib.md5(secret).hexdigest(), hashlib.sha256(secret).hexdigest())
    users.write_text("".join(f"{username}:{REALM}:{one}\n" for one in hashes))
    port = free_port()
    config = folder / "lighttpd.conf"
    config.write_text(_CONFIG.format(root=root, port=port, users=users, realm=REALM))
    assert LIGHTTPD is not None
    with start_child([LIGHTTPD, "-D", "-f", str(config)], stderr=subprocess.PIPE) as server:
        try:
            _until_it_listens(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _until_it_listens(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert server.poll() is None, server.stderr.read() if server.stderr else "lighttpd ended"
            assert time.monotonic() < deadline_s, "lighttpd does not listen"
            time.sleep(0.02)
        else:
            return
