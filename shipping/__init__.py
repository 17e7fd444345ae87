"""How the gateway is shipped: images, bundles for machines without a network."""
