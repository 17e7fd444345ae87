"""The image, built and run: `make test-image-arm32v7` (or -amd64, -arm64). IMAGE names it.

Slow where QEMU runs it: Python takes ten to twelve times longer there, so times that are printed are the emulator's.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
import requests

from gateway import __version__
from shipping.closure import closure, pinned
from tests.fakes.gateway_process import ROOT
from tests.fakes.hub import RunningHub, hub_in_thread
from tests.fakes.ledger import deduplicated, stored
from tests.shipped.container import Container, Image, make_volume

pytestmark = [pytest.mark.shipped, pytest.mark.timeout(7200)]

NAME = os.environ.get("IMAGE", f"localhost/gateway:{__version__}-arm32v7")
PICTURE = ROOT / "examples" / "banana-ripe.jpg"
COMPRESSED_BYTES_MAX = 150_000_000
ARRIVAL_TIMEOUT_S = 300.0
# Docker's own patience; the emulator's slowness is not the gateway's.
STOP_S = 10.0
# What the tests in the image need beside what is in it.
TEST_PACKAGES = ("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis")
MACHINES = {"arm32v7": "armv7l", "arm64": "aarch64", "amd64": "x86_64"}
# IMAGE_TESTS: fewer, while working on the image; under QEMU they take half an hour.
_PROPERTIES = "tests/property/test_image_bounds.py tests/property/test_outbox_state_machine.py"
INSIDE = os.environ.get("IMAGE_TESTS", f"tests/unit/vision tests/unit/outbox {_PROPERTIES}").split()

# What may be skipped there: the other runtime's share, and what the next test runs as root.
LEFT_OUT = r"can't mount here|no TFLite runtime can be loaded"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(NAME, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with hub_in_thread(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(image: Image, hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    volume = make_volume(image, tmp_path_factory.mktemp("container") / "data")
    cloud = hub.environment()
    shutil.copy(cloud["GATEWAY_CLOUD__CA_FILE"], volume / "ca.pem")
    (volume / "ca.pem").chmod(0o444)
    environment = cloud | {
        "GATEWAY_CLOUD__CA_FILE": "/data/ca.pem",
        "GATEWAY_CLOUD__BATCH_WAIT_S": "0.1",
        # The machine's network is shared: loopback, where no token is asked for, and free ports.
        "GATEWAY_HTTP__LISTEN": "127.0.0.1:0",
        "GATEWAY_MQTT__LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN__LISTEN": f"127.0.0.1:{free_port()}",
    }
    container = Container(image, volume, environment)
    yield container.start()
    container.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def arrived(gateway: Container, hub: RunningHub) -> bool:
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    while time.monotonic() < deadline:
        if deduplicated(hub.messages) == stored(gateway.volume):
            return True
        time.sleep(1)
    return False


def publish(port: int, payload: bytes) -> None:
    """Publish a picture at QoS 1; returns when the PUBACK is here."""
    client = mqtt.Client(client_id="cam-2")
    client.connect("127.0.0.1", port, keepalive=120)
    client.loop_start()
    try:
        message = client.publish("devices/cam-2/images", payload, qos=1)
        message.wait_for_publish(timeout=300)
        assert message.is_published()
    finally:
        client.disconnect()
        client.loop_stop()


def test_image_says_what_it_is_and_promises_nothing_that_it_needs_root_for(image: Image) -> None:
    config = image.config
    assert config["User"] == "gateway"
    assert list(config["Volumes"]) == ["/data"]
    assert config["StopSignal"] in {"SIGTERM", "15"}
    assert config["Healthcheck"]["Test"][-1] == "gateway.healthcheck"
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert set(config["ExposedPorts"]) == {"8080/tcp", "1883/tcp"}


def test_image_is_small_and_has_no_compiler_and_no_installer(image: Image) -> None:
    found = [
        path.name
        for path in image.root.rglob("*")
        if re.fullmatch(r"(cc|gcc|g\+\+|cc1|pip3?|ld|as|make)", path.name) and path.is_file()
    ]
    assert found == []
    packed = f"tar -c -C {shlex.quote(str(image.root))} . | gzip -6 | wc -c"
    compressed = int(subprocess.run(["sh", "-euc", packed], capture_output=True, text=True, check=True).stdout)
    print(f"\n{NAME}: {compressed / 1e6:.1f} MB compressed (gzip -6)")
    for line in largest(image.root):
        print(line)
    assert compressed <= COMPRESSED_BYTES_MAX


def largest(root: Path) -> list[str]:
    places = ("opt/gateway", "usr/lib/python3.11", "usr/lib/python3", "usr/share", "usr/bin", "var", "usr/lib")
    done = subprocess.run(
        ["du", "-sm", *(str(root / place) for place in places if (root / place).exists())],
        capture_output=True,
        text=True,
        check=True,
    )
    return [f"  {line.split()[0]:>5} MB {line.split()[1].removeprefix(str(root))}" for line in done.stdout.splitlines()]


def test_picture_is_classified_a_message_acknowledged_and_both_outlive_kill_9_and_reach_the_hub(
    gateway: Container, hub: RunningHub
) -> None:
    print(f"\nstart {gateway.start_s:.1f} s")
    answer = requests.post(f"{gateway.http}/image", data=PICTURE.read_bytes(), timeout=300)
    best = max(answer.json()["predictions"], key=lambda prediction: prediction["probability"])
    assert best["tagName"] == "ripe"
    publish(gateway.mqtt_port, PICTURE.read_bytes())
    print("resident MiB of each process, with the emulator's share:", [round(mib) for mib in gateway.resident_mib()])
    gateway.kill()
    kept = stored(gateway.volume)
    assert len(kept) == 2
    gateway.start()
    print(f"start after kill -9: {gateway.start_s:.1f} s")
    assert arrived(gateway, hub)
    assert len(hub.messages) >= 1


def test_health_check_of_the_image_is_healthy_while_it_serves(gateway: Container) -> None:
    kind, *command = gateway.image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    done = gateway.image.run(*command, volume=gateway.volume, environment=gateway.environment)
    assert (done.returncode, done.stdout) == (0, "healthy")


def test_root_is_read_only_and_the_user_is_nobody_special(image: Image, tmp_path: Path) -> None:
    volume = make_volume(image, tmp_path / "data")
    tries = ["touch /opt/gateway/x 2>&1 || true", "touch /x 2>&1 || true", "touch /data/x && echo kept"]
    script = "; ".join(["id -u", *tries, "grep CapEff /proc/self/status"])
    said = image.run("sh", "-c", script, volume=volume).stdout
    assert "10001" in said
    assert said.count("Read-only file system") == 2 or said.count("cannot touch") == 2
    assert "kept" in said
    assert re.search(r"CapEff:\s+0{16}", said)


def test_debians_cffi_serves_a_newer_cryptography(image: Image, tmp_path: Path) -> None:
    """It asks for cffi 2; on 32-bit ARM it has Debian's 1.15. A local authority with its certificate needs it all."""
    script = (
        "from cryptography.hazmat.primitives.asymmetric import ec, ed25519\n"
        "from cryptography.hazmat.primitives import hashes\n"
        "key = ec.generate_private_key(ec.SECP256R1())\n"
        "key.public_key().verify(key.sign(b'x', ec.ECDSA(hashes.SHA256())), b'x', ec.ECDSA(hashes.SHA256()))\n"
        "print(len(ed25519.Ed25519PrivateKey.generate().sign(b'x')))"
    )
    volume = make_volume(image, tmp_path / "data")
    done = image.run("/opt/gateway/bin/python", "-W", "error", "-c", script, volume=volume)
    assert done.stdout.strip() == "64", done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tests and what they need, for the image's machine; the gateway is the image's."""
    folder = tmp_path_factory.mktemp("source")
    # Beside the tests, since programs that they start look there alone.
    install_for_the_image(folder)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "tests", "pyproject.toml", "examples", "config"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "config" / "__init__.py").unlink()
    folder.chmod(0o755)  # for the image's user
    return folder


def run_inside(image: Image, source: Path, volume: Path, *what: str, as_root: bool = False) -> str:
    """Run tests in the image; return what pytest said, skips with their reasons, once all of it passed."""
    arguments = ["-q", "-rs", "-p", "no:cacheprovider", "--timeout", "1800", "--basetemp", "/data/t", "-W", "default"]
    done = image.run(
        *("env", "-C", "/srv", "/opt/gateway/bin/python", "-m", "pytest", *arguments, *what),
        volume=volume,
        environment={"PYTHONPATH": "/srv", "HOME": "/data", "PYTHONDONTWRITEBYTECODE": "1", "CI": ""},
        extra={source: "/srv"},
        as_root=as_root,
    )
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_unit_and_property_tests_of_vision_and_outbox_hold_in_the_image(
    image: Image, source: Path, tmp_path: Path
) -> None:
    """Debian's Pillow, NumPy and SQLite are older than the lock file's."""
    said = run_inside(image, source, make_volume(image, tmp_path / "data"), *INSIDE)
    skipped = re.findall(r"^SKIPPED \[\d+\] [^ ]+: (.+)$", said, re.MULTILINE)
    assert [reason for reason in skipped if not re.search(LEFT_OUT, reason)] == []


def test_tests_that_mount_hold_in_the_image_as_root(image: Image, source: Path, tmp_path: Path) -> None:
    """A disk that fills up: what the image's own user can't set up."""
    volume = make_volume(image, tmp_path / "data")
    said = run_inside(image, source, volume, "-m", "mounts", "tests/unit/outbox", as_root=True)
    assert re.search(r"\d passed", said)
    assert "skipped" not in said


def install_for_the_image(into: Path) -> None:
    """Put pytest and its friends into a folder: wheels for the board."""
    machine = MACHINES[NAME.rpartition("-")[2]]
    pins = pinned(closure(list(TEST_PACKAGES), machine), machine)
    platforms = [
        f"--platform={glibc}_{machine}"
        for glibc in ("manylinux_2_36", "manylinux_2_31", "manylinux_2_17", "manylinux2014")
    ]
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            *install,
            "--python-version=3.11",
            f"--target={into}",
            *platforms,
            *pins.values(),
        ],
        env={key: value for key, value in os.environ.items() if key != "PIP_FIND_LINKS"},
        check=True,
    )


def test_stop_signal_is_heard_inside_ten_seconds(gateway: Container) -> None:
    code, took_s = gateway.stop()
    print(f"\nstopped in {took_s:.1f} s")
    assert code == 0
    assert took_s < STOP_S
