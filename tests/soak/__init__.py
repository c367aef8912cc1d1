"""Many small rankings in one process, and what they leave behind: ``make soak``."""
