"""A stand-in for Azure IoT Hub that the real device SDK accepts: for tests, and to try the gateway without an account.

MQTT 3.1.1 over TLS, plain or inside websockets, on one port; SAS tokens and X.509 checked; IoT Hub's topics only.
A CONNECT proxy maps the SDK's fixed ports (8883, 443) to the real one. An HTTP/JSON view shows what arrived and
switches faults. Everything is on loopback and in memory: not a hub to keep data in.
"""
