"""Which devices are known, and how each proves who it is."""
