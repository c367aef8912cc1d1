"""The charts of classes: a module each."""
