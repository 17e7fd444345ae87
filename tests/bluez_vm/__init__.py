"""The slow check of the BLE adapter on a real bluetoothd, in a virtual machine: ``make test-bluez``."""
