"""BlueZ without a radio: ``org.bluez`` on a private D-Bus, with simulated cameras and sensors in reach.

Unmodified bleak runs on it, so a gateway does: tests, ``gateway simulate device ble`` and demonstrations use it.
"""
