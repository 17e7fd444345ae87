"""Devices that are not there: they send pictures of fruit as real cameras do, and tell what came back."""
