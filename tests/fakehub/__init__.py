"""A Hugging Face Hub on this machine, for tests: no network, and faults on demand."""
