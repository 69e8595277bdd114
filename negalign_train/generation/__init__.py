"""Who writes reports: decoding in this process, or a vLLM server."""
