"""Bluetooth-only devices: pictures and readings over BLE through bleak."""
