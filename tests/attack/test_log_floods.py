"""Whoever is refused by the hundred does not fill the card with lines about it."""

import json
import socket
from collections import Counter
from pathlib import Path

import requests

from gateway.log_flood import BURST_LINES
from tests.fakes.gateway_process import GatewayProcess

REFUSED = 150
# The lines of a start, and of what was attacked: a few hundred bytes each.
LOG_BYTES_MAX = 64 * 1024


def test_refusals_by_the_hundred_are_counted_and_not_written_one_by_one(tmp_path: Path) -> None:
    environment = {"GATEWAY_GATEWAY__LOG_FORMAT": "json"}
    with GatewayProcess(tmp_path / "data", environment=environment) as gateway:
        with requests.Session() as session:
            for number in range(REFUSED):
                url = f"{gateway.http}/v1/devices/cam-{number}/readings"
                assert session.post(url, data=b"no reading", timeout=30).status_code == 422
        port = int(gateway.mqtt.rpartition(":")[2])
        for _ in range(REFUSED):
            with socket.create_connection(("127.0.0.1", port), 30) as connection:
                connection.sendall(b"\xff\xff no MQTT at all")
                assert connection.recv(10) == b""
    text = gateway.log_file.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    events = Counter(line["event"] for line in lines)
    left_out: Counter[str] = Counter()
    for line in lines:
        if line["event"] == "log_lines_left_out":
            left_out[line["of"]] += line["count"]
    for event in ("submission_refused", "mqtt_client_dropped"):
        assert BURST_LINES <= events[event] < 2 * BURST_LINES  # a slow machine takes more than a minute for it
        assert events[event] + left_out[event] == REFUSED
    assert len(text) < LOG_BYTES_MAX
