"""A candidate's settings: TRL's arguments, and which settings may stand together."""
