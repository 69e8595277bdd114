"""Who writes reports: the model in this process, or a server."""
