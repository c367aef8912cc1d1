"""A ranking as people and programs read it."""
