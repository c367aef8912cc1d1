"""The charts of errors: a module each."""
