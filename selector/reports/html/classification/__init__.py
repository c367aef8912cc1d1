"""What the page shows of a ranking of classes."""
