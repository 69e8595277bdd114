"""Expert sets: what radiologists said of reports, and how well a judge follows it."""
