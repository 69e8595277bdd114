"""Several processes: what the main one decides, and parameters that ZeRO shards."""
