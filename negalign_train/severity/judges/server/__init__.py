"""A judge behind an OpenAI-compatible chat endpoint: the question, the wire, the answer."""
