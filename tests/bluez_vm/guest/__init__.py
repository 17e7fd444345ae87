"""What runs inside the virtual machine: bluetoothd, simulated devices on Bumble, a real gateway, and the scenarios."""
