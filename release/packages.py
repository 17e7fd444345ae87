"""Wheel and source archive: what is in them, and how large they are."""

import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from release.checklist import Verdict, failed, ok

# What a site on a metered link downloads for an update of the gateway alone. 0.1.0 has 1.0 MB, the model 0.2 of it.
WHEEL_BYTES_MAX = 1_500_000
# The packages' sources, without tests.
SDIST_BYTES_MAX = 1_500_000
_IN_WHEEL = (
    *("config/gateway.toml", "config/models/fruit/model.tflite", "config/iot-edge/deployment.arm32v7.json"),
    *("gateway/outbox/queries.sql", "gateway/py.typed", "adapters/http/api.py"),
)
_NOT_IN_WHEEL = ("tests/", "benchmarks/", "training/", "release/", "data/", ".venv/")
_SECRETS = (".key", "cloud-assignment.json", "devices.json", "outbox.db")


def built(root: Path) -> Verdict:
    """Build both from a clean copy of the last commit, and look into them."""
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        source, out = Path(folder) / "source", Path(folder) / "dist"
        source.mkdir()
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
        done = subprocess.run(
            [sys.executable, "-m", "build", "--outdir", str(out), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            return failed(f"python -m build failed:\n{(done.stdout + done.stderr)[-800:]}")
        (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
        return judged(wheel, sdist)


def judged(wheel: Path, sdist: Path) -> Verdict:
    """Fail for what is missing, superfluous or too large."""
    with zipfile.ZipFile(wheel) as opened:
        inside = opened.namelist()
    with tarfile.open(sdist) as opened_sdist:
        source = opened_sdist.getnames()
    sizes = {wheel.name: (wheel, WHEEL_BYTES_MAX), sdist.name: (sdist, SDIST_BYTES_MAX)}
    faults = [f"{wheel.name} has no {name}" for name in _IN_WHEEL if name not in inside]
    faults += [f"{wheel.name} has {name}" for name in inside if name.startswith(_NOT_IN_WHEEL)]
    faults += [f"{name} may be a secret" for name in [*inside, *source] if name.endswith(_SECRETS)]
    faults += [f"{sdist.name} has no {name}" for name in ("README.md", "LICENSE") if _absent(name, source)]
    faults += [
        f"{name} has {file.stat().st_size / 1e6:.2f} MB, above {most / 1e6:.1f}"
        for name, (file, most) in sizes.items()
        if file.stat().st_size > most
    ]
    if faults:
        return failed("\n".join(faults))
    return ok(", ".join(f"{name} {file.stat().st_size / 1e6:.2f} MB" for name, (file, _) in sizes.items()))


def _absent(name: str, members: list[str]) -> bool:
    return not any(member.partition("/")[2] == name for member in members)


def bill_of_materials(root: Path) -> Verdict:
    """Make the SBOM, and compare it with what the gateway needs here."""
    from release.licences import PROJECT, closure

    if "sbom:" not in (root / "Makefile").read_text().split():
        return failed("there is no `make sbom`")
    done = subprocess.run(["make", "--silent", "sbom"], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return failed(f"make sbom failed: {(done.stdout + done.stderr)[-400:]}")
    files = sorted(path for path in root.glob("dist/*.json") if "bom" in path.name)
    if not files:
        return failed("make sbom left no dist/*bom*.json")
    listed = {str(part["name"]).lower().replace("_", "-") for part in json.loads(files[-1].read_text())["components"]}
    missing = sorted(set(closure(PROJECT, ())) - {PROJECT} - listed)
    if missing:
        return failed(f"{files[-1].name} does not list {', '.join(missing)}")
    return ok(f"{files[-1].name} lists {len(listed)} components")
