"""TLS of the listeners: whose certificate they show, which ones they believe, and the socket in between."""
