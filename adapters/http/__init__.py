"""HTTP devices: Custom Vision routes, the native API and the admin face."""
