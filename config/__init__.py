"""Data only, shipped as package data: the annotated settings file, models, manifests."""
