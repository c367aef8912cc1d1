"""Crash tests: real runs of the command line that are killed, starved and misled on purpose."""
