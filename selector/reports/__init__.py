"""A ranking as people and programs read it."""

WIDTH = 100
"""Columns that a table needs at most, and gets where stdout is no terminal."""
