"""Between cycles: the audit, a person overriding the gate, folders to load from."""
