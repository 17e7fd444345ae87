"""Cameras that only answer a snapshot URL: they are asked, again and again."""
