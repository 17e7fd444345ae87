"""A real mosquitto on a free port of loopback, with our config/mosquitto.conf or with its own defaults.

``kill`` is kill -9. The data folder stays for the next ``start``, and so does the port.
"""

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import paho.mqtt.client as mqtt
import pytest

from gateway.simulators.ports import free_port
from tests.fakes.child_process import start_child

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "config" / "mosquitto.conf"
START_TIMEOUT_S = 20.0
# Lines of a configuration that belong to one machine; a test has its own.
_LOCAL = ("listener", "persistence_location", "allow_anonymous")

needs_mosquitto = pytest.mark.skipif(
    not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()), reason="missing package: mosquitto"
)


@dataclass(frozen=True, kw_only=True)
class BrokerTls:
    """Files of a TLS listener; ``require_certificate`` asks clients for one of ``ca_file``."""

    certificate_file: Path
    key_file: Path
    ca_file: Path | None = None
    require_certificate: bool = False


class Mosquitto:
    """One broker. Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        conf: Path | None = OURS,
        tls: BrokerTls | None = None,
        passwords: dict[str, str] | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.tls = tls
        self._conf = conf
        self._extra = extra
        self._passwords = passwords
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtts://localhost:{self.port}" if self.tls else f"mqtt://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "mosquitto.log").read_text()

    @property
    def database(self) -> Path:
        return self.folder / "mosquitto.db"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Return when connections are accepted."""
        file = self.folder / "mosquitto.conf"
        file.write_text("\n".join(self._lines()) + "\n")
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = start_child([program, "-c", str(file)], stdout=log, stderr=log)
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not _accepts(self.port):
            assert self._process.poll() is None, f"mosquitto ended: {self.log[-2000:]}"
            assert time.monotonic() < give_up_at, "mosquitto did not start in time"
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def suspend(self) -> None:
        """Stop answering, with every connection open: a half-open link."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(START_TIMEOUT_S)

    def _lines(self) -> list[str]:
        text = "" if self._conf is None else self._conf.read_text()
        given = [line for line in text.splitlines() if line.split(" ", 1)[0] not in _LOCAL]
        own = [
            # Started by root it would change to a user that may not write to a test's folder.
            "user root",
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if self._passwords else 'true'}",
            f"persistence_location {self.folder}/",
            *self._tls_lines(),
            *self._password_lines(),
        ]
        if self._conf is None:  # what Debian's own file sets
            own.append("persistence true")
        return [*given, *own, *self._extra]

    def _tls_lines(self) -> list[str]:
        if self.tls is None:
            return []
        lines = [f"certfile {self.tls.certificate_file}", f"keyfile {self.tls.key_file}"]
        if self.tls.ca_file is not None:
            lines.append(f"cafile {self.tls.ca_file}")
        if self.tls.require_certificate:
            lines.append("require_certificate true")
        return lines

    def _password_lines(self) -> list[str]:
        if not self._passwords:
            return []
        file = self.folder / "passwords"
        file.touch()
        for user, password in self._passwords.items():
            subprocess.run(["mosquitto_passwd", "-b", str(file), user, password], check=True, capture_output=True)
        return [f"password_file {file}"]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGKILL)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


class Endpoint(Protocol):
    """Something on loopback that speaks MQTT."""

    port: int


class _Device(mqtt.Client):  # type: ignore[misc]  # paho 1.6 has no types
    """paho, which after two failed attempts to reconnect forgets that a QoS 2 message was received (it sends PUBLISH
    again, unmarked, where PUBREL is due): so it attempts only when somebody listens."""

    def reconnect(self) -> Any:
        if not _accepts(self._port):
            raise ConnectionRefusedError
        return super().reconnect()


class Publisher:
    """A device: paho with a network thread. Remembers what the broker acknowledged, outside broker and gateway."""

    def __init__(self, endpoint: Endpoint, client_id: str = "camera-1", **options: Any) -> None:
        self._acknowledged_at: dict[int, float] = {}
        self._names: dict[int, str] = {}
        self._client = _Device(client_id, clean_session=False, **options)
        self._client.max_inflight_messages_set(100)
        self._client.reconnect_delay_set(0.2, 0.2)
        self._client.on_publish = self._on_publish
        self._endpoint = endpoint

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._endpoint.port, keepalive=10)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        end_device(self._client)

    def publish(self, name: str, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> Any:
        """Publish; ``name`` joins ``acknowledged`` when the broker has acknowledged (QoS 1)."""
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        self._names[info.mid] = name
        return info

    @property
    def acknowledged(self) -> set[str]:
        """The names of what the broker has acknowledged (at QoS 0: what was written)."""
        return set(self.acknowledged_at)

    @property
    def acknowledged_at(self) -> dict[str, float]:
        """The same, with the time of each (time.monotonic)."""
        # By packet id, since paho may call back before publish() has returned it. Fewer than 65,535 a publisher.
        return {
            name: at for packet_id, name in self._names.copy().items() if (at := self._acknowledged_at.get(packet_id))
        }

    @property
    def outstanding(self) -> int:
        """How many were published and not acknowledged."""
        return len(self._names) - len(self._acknowledged_at)

    def wait_acknowledged(self, count: int, timeout_s: float = 20) -> None:
        give_up_at = time.monotonic() + timeout_s
        while len(self._acknowledged_at) < count and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert len(self.acknowledged) >= count, f"{len(self.acknowledged)} of {count} acknowledged"

    def _on_publish(self, _client: Any, _userdata: Any, packet_id: int) -> None:
        self._acknowledged_at[packet_id] = time.monotonic()


def end_device(client: Any) -> None:
    """Disconnect a paho client that has a thread, and close what paho 1.6 leaves to the garbage collector."""
    client.disconnect()
    client.loop_stop()
    client._reset_sockets()


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Return when ``condition()`` holds; fail after ``timeout_s``."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  what is awaited happens in other processes
            await asyncio.sleep(0.01)
