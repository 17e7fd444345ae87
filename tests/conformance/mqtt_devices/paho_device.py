"""A device on paho-mqtt 1.6 or 2.x, whichever is imported: publishes, hears its results, prints what it saw as JSON.

Arguments: port, protocol version (4 or 5), what to do: "publish" or "large".
"""

import json
import sys
import threading
from typing import Any

import paho.mqtt.client as mqtt

TOPIC = "devices/cam-1/readings"
RESULTS = "devices/cam-1/results"
TIMEOUT_S = 30
IS_2 = hasattr(mqtt, "CallbackAPIVersion")


def client_of(version: int) -> Any:
    options: dict[str, Any] = {"client_id": "paho-device", "protocol": version}
    if version == mqtt.MQTTv311:
        options["clean_session"] = False
    return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, **options) if IS_2 else mqtt.Client(**options)


def main(port: int, version: int, task: str) -> None:
    results: list[dict[str, Any]] = []
    codes: list[int] = []
    subscribed, heard = threading.Event(), threading.Event()
    sizes = [300_000, 1_000_000] if task == "large" else [20] * 60
    client = client_of(version)

    def on_message(_client: Any, _data: Any, message: Any) -> None:
        results.append(json.loads(message.payload))
        if len(results) == len(sizes):
            heard.set()

    def on_publish(_client: Any, _data: Any, _mid: int, *more: Any) -> None:
        codes.append(more[0].value if more and hasattr(more[0], "value") else 0)

    def on_subscribe(*_: Any) -> None:
        subscribed.set()

    def on_connect(*_: Any) -> None:
        client.subscribe(RESULTS, qos=1)

    client.on_message, client.on_publish = on_message, on_publish
    client.on_subscribe, client.on_connect = on_subscribe, on_connect
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", port, keepalive=20)
    client.loop_start()
    assert subscribed.wait(TIMEOUT_S), "no SUBACK"
    infos = [
        client.publish(TOPIC, b"%06d" % number + bytes(size), qos=1 + number % 2) for number, size in enumerate(sizes)
    ]
    for info in infos:
        info.wait_for_publish(TIMEOUT_S)
    assert heard.wait(TIMEOUT_S), f"{len(results)} results"
    client.disconnect()
    client.loop_stop()
    sys.stdout.write(
        json.dumps(
            {
                "acknowledged": sum(info.is_published() for info in infos),
                "results": len(results),
                "statuses": sorted({result["status"] for result in results}),
                "codes": sorted(set(codes)),
                "paho": 2 if IS_2 else 1,
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
