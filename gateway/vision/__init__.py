"""Pictures in, predictions out: model bundles, pre-processing and a pool of interpreters."""
