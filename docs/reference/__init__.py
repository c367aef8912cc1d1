"""What docs/generate.py writes: references made from the program itself."""
