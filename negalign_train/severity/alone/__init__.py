"""A report judged alone, where no right report exists: flags, and the severities it shows."""
