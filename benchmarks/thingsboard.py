"""ThingsBoard IoT Gateway as it comes from PyPI, set up for the same work: readings over HTTP into its SQLite storage.

It gets what speaks for it: its SQLite storage instead of the default (memory, which keeps nothing), few logs, no
statistics. Its platform is any MQTT broker that lets it in.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from gateway.simulators.ports import free_port

PACKAGES = ("thingsboard-gateway==3.8.5", "aiohttp==3.*")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gateway-bridge" / "thingsboard-gateway"
START_TIMEOUT_S = 120.0  # its first minute may go into a search for updates, which no network answers
PATH = "/readings"


def install() -> Path | None:
    """Return its Python, in a virtual environment that is made once; None where it cannot be had."""
    python = CACHE / "bin" / "python"
    if not (CACHE / "installed").exists():
        shutil.rmtree(CACHE, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(CACHE)], check=True)
        if subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=False).returncode:
            return None
        (CACHE / "installed").touch()
    return python


class ThingsBoardGateway:
    """One gateway with a folder of its own; ``kill`` is kill -9."""

    def __init__(self, python: Path, folder: Path, *, platform_port: int) -> None:
        self._python, self._folder = python, folder
        self.where = f"127.0.0.1:{free_port()}"
        for name in ("config", "data", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, settings in (
            ("tb_gateway", _gateway(platform_port)),
            ("rest", self._connector()),
            ("logs", self._logs()),
        ):
            (folder / "config" / f"{name}.json").write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that serves."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, platform: bool) -> Self:
        """Return when it accepts connections and, with a ``platform``, has entered its main loop."""
        done_before = self._starts()
        with (self._folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._python), "-c", "from thingsboard_gateway.tb_gateway import main; main()"],
                cwd=self._folder,
                env={**os.environ, "TB_GW_CONFIG_DIR": str(self._folder / "config")},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _listens(self.where) or (platform and self._starts() == done_before):
            assert self._process.poll() is None, (self._folder / "output.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the peer does not listen"
            time.sleep(0.1)
        return self

    def _starts(self) -> int:
        log = self._folder / "logs" / "service.log"
        return log.read_text().count("Gateway started.") if log.exists() else 0

    def kill(self) -> None:
        """Kill -9 all of it."""
        os.killpg(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stored(self) -> set[int]:
        """Return the numbers of the readings that its storage holds."""
        found: set[int] = set()
        for file in (self._folder / "data").glob("*.db"):
            with sqlite3.connect(file) as connection:
                for (message,) in connection.execute("SELECT message FROM messages"):
                    found |= {int(value) for value in _values_of(json.loads(message), "n")}
            connection.close()
        return found

    def _connector(self) -> dict[str, Any]:
        host, _, port = self.where.partition(":")
        converter = {
            "type": "json",
            "deviceInfo": {
                "deviceNameExpressionSource": "request",
                "deviceNameExpression": "${device}",
                "deviceProfileExpressionSource": "constant",
                "deviceProfileExpression": "default",
            },
            "attributes": [],
            "timeseries": [{"type": "integer", "key": "n", "value": "${n}"}],
        }
        mapping = {
            "endpoint": PATH,
            "HTTPMethods": ["POST"],
            "response": {"responseExpected": False},
            "security": {"type": "anonymous"},
            "converter": converter,
        }
        return {"server": {"host": host, "port": port, "SSL": False}, "mapping": [mapping], "requestsMapping": {}}

    def _logs(self) -> dict[str, Any]:
        shipped = next(CACHE.glob("lib/python*/site-packages/thingsboard_gateway/config/logs.json"))
        settings: dict[str, Any] = json.loads(shipped.read_text())
        for name, logger in settings["loggers"].items():
            logger["level"] = "INFO" if name == "service" else "WARNING"
        return settings


def _gateway(platform_port: int) -> dict[str, Any]:
    return {
        "thingsboard": {
            "host": "127.0.0.1",
            "port": platform_port,
            "remoteConfiguration": False,
            "statistics": {"enable": False},
            "security": {"type": "accessToken", "accessToken": "benchmark"},
        },
        "storage": {"type": "sqlite", "data_file_path": "./data/"},
        "grpc": {"enabled": False},
        "connectors": [{"type": "rest", "name": "rest", "configuration": "rest.json"}],
    }


def _listens(where: str) -> bool:
    import socket

    host, _, port = where.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _values_of(tree: object, key: str) -> list[Any]:
    """Return every value of ``key`` anywhere in a JSON tree: the envelope's form is the peer's own affair."""
    if isinstance(tree, dict):
        own = [tree[key]] if key in tree else []
        return own + [value for child in tree.values() for value in _values_of(child, key)]
    if isinstance(tree, list):
        return [value for child in tree for value in _values_of(child, key)]
    return []
