"""``python -m selector`` is the command line."""

from __future__ import annotations

from selector.cli import main

if __name__ == "__main__":
    main()
