"""Before the first step: the plan, what the recipe declares, and what is refused at once."""
