"""Stand-ins for what a desk does not have: an IoT Hub and devices. Imported by the command line and tests only."""
