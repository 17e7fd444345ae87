"""Devices at the site, run with the gateway's own Python. What was acknowledged is a line each: its submission id.

client.py picture           one picture over HTTP, the likeliest label
client.py publish ID...     a reading with each id over MQTT, QoS 1
client.py flood TOLD        readings over HTTP and MQTT without end, each acknowledged id written to the file TOLD
"""

import itertools
import json
import sys
import threading
import urllib.request
from pathlib import Path

import paho.mqtt.client as mqtt

HTTP = "http://127.0.0.1:8080"
MQTT_PORT = 1883
PICTURE = Path(__file__).with_name("banana-ripe.jpg")
TIMEOUT_S = 120


def post(path: str, data: bytes, submission_id: str = "") -> dict[str, object]:
    headers = {"Idempotency-Key": submission_id, "Content-Type": "application/json"} if submission_id else {}
    request = urllib.request.Request(f"{HTTP}{path}", data=data, headers=headers)
    answer: dict[str, object] = json.load(urllib.request.urlopen(request, timeout=TIMEOUT_S))
    return answer


def picture() -> None:
    predictions = post("/image", PICTURE.read_bytes())["predictions"]
    assert isinstance(predictions, list)
    print(max(predictions, key=lambda one: float(one["probability"]))["tagName"])


def connected() -> mqtt.Client:
    client = mqtt.Client(client_id="shed")
    client.connect("127.0.0.1", MQTT_PORT)
    client.loop_start()
    return client


def publish(client: mqtt.Client, submission_id: str) -> None:
    """Return when the PUBACK is here."""
    sent = client.publish(f"devices/shed/readings/{submission_id}", b'{"temperature": 21.5}', qos=1)
    sent.wait_for_publish(TIMEOUT_S)
    assert sent.is_published(), "no PUBACK came"


def flood(told: Path) -> None:
    lock = threading.Lock()
    with told.open("w") as file:

        def tell(submission_id: str) -> None:
            with lock:
                file.write(f"{submission_id}\n")
                file.flush()

        def over_http() -> None:
            for number in itertools.count():
                post("/v1/devices/barn/readings", b'{"temperature": 4}', f"http-{number}")
                tell(f"http-{number}")

        threading.Thread(target=over_http, daemon=True).start()
        client = connected()
        for number in itertools.count():
            publish(client, f"mqtt-{number}")
            tell(f"mqtt-{number}")


def main() -> None:
    match sys.argv[1:]:
        case ["picture"]:
            picture()
        case ["publish", *ids]:
            client = connected()
            for submission_id in ids:
                publish(client, submission_id)
                print(submission_id)
        case ["flood", told]:
            flood(Path(told))


if __name__ == "__main__":
    main()
