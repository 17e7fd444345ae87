"""A site on one machine: a gateway, a hub stand-in, devices of every kind, an uplink that fails, and a ledger."""
