"""The parts of the forwarder: what waits, what flies, what is suspected, what is marked."""
