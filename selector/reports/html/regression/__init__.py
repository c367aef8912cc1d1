"""What the page shows of a ranking by error."""
