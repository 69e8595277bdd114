"""Where people grade drafts: the queue, and the page on it."""
