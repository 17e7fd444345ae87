"""The reference for readings through a broker: paho subscribes at QoS 1 and counts. No gateway code, nothing stored.

Usage: ``python -m benchmarks.bare_mqtt_subscriber PORT FILTER SECONDS``. Prints "ready", then a JSON line.
"""

import json
import sys
import time

import paho.mqtt.client as mqtt


def main(port: int, topic_filter: str, seconds: float) -> None:
    """Count what comes between the first message and the end."""
    times: list[float] = []
    client = mqtt.Client("bare", clean_session=True)
    client.on_message = lambda _client, _userdata, _message: times.append(time.monotonic())
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.connect("127.0.0.1", port)
    client.subscribe(topic_filter, 1)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client.loop(0.1)
    client.disconnect()
    print(json.dumps({"count": len(times), "per_s": len(times) / (times[-1] - times[0]) if len(times) > 1 else 0.0}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
