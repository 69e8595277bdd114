"""The only place that joins the rooms: one resumable feedback cycle, step by step."""
