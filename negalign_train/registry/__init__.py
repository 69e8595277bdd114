"""Published adapters: manifests, lineage, aliases."""
