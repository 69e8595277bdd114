"""What commands share: options, tables, files, judges opened by name."""
