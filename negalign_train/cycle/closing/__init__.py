"""What a cycle came to: summary, page, seal."""
