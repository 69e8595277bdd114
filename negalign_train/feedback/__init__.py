"""Event schema, append-only log, import with quarantine, reader statistics."""
