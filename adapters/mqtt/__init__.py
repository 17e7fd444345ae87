"""MQTT devices: through a broker that the site has, or directly to the built-in listener."""
