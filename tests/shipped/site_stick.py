"""What is carried to a site on a stick: this version's bundle, one with the next number, and the tests' programs."""

import re
import shutil
import tarfile
from pathlib import Path

from gateway import __version__
from shipping.bundle import checksums, pack
from tests.fakes.gateway_process import ROOT

NEXT_VERSION = "0.1.1"
PROGRAMS = Path(__file__).parent / "stick"
UNIT = (ROOT / "config" / "gateway.service").read_text()


def bundle_name(version: str) -> str:
    """Return the bundle's name, as that of its folder."""
    return f"gateway-bridge-{version}-x86_64"


def make_stick(folder: Path) -> Path:
    """Fill the folder; dist/ must hold the bundle (``make bundle ARCH=x86_64``)."""
    archive = ROOT / "dist" / f"{bundle_name(__version__)}.tar.gz"
    assert archive.is_file(), "make bundle ARCH=x86_64 first"
    shutil.copy(archive, folder)
    for program in PROGRAMS.glob("*.py"):
        shutil.copy(program, folder)
    shutil.copy(ROOT / "examples" / "banana-ripe.jpg", folder)
    _next_bundle(archive, folder)
    folder.chmod(0o755)  # pytest's own are closed to others
    return folder


def _next_bundle(archive: Path, folder: Path) -> None:
    """Make a bundle with the next version's number and this version's program."""
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="tar")
    made = folder / bundle_name(NEXT_VERSION)
    (folder / bundle_name(__version__)).rename(made)
    (made / "VERSION").write_text(f"{NEXT_VERSION}\n")
    (made / "SHA256SUMS").unlink()
    checksums(made)
    pack(made, made.with_name(f"{made.name}.tar.gz"))
    shutil.rmtree(made)


def probe_unit(name: str, program: str) -> str:
    """Return the script that makes a unit with all of the gateway's rules that runs a program of the stick once."""
    run = f"ExecStart=/opt/gateway-bridge/current/bin/python /run/{program}"
    text = re.sub(r"^ExecStart=.*$", run, UNIT, flags=re.MULTILINE)
    text = re.sub(r"^Type=.*$", "Type=oneshot", text, flags=re.MULTILINE)
    text = re.sub(r"^(?:Restart|WatchdogSec|NotifyAccess)=.*\n", "", text, flags=re.MULTILINE)
    return (
        f"cp /media/stick/{program} /run/{program}; cat >/run/systemd/system/{name}.service <<'END'\n{text}\nEND\n"
        "systemctl daemon-reload"
    )
