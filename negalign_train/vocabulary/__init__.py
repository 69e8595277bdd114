"""The words every room speaks: records, taxonomy, what a reader approved of. No torch."""
