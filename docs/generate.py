"""Write docs/cli.md from the command line itself, and docs/json.md from the JSON Schemas.

    make docs

Both files are committed; tests/test_docs.py holds that they are current.
"""

from __future__ import annotations

from pathlib import Path

from reference.commands import cli_reference
from reference.documents import json_reference

DOCS = Path(__file__).parent


def references() -> dict[str, str]:
    """What the generated files have to hold, by file name."""
    return {"cli.md": cli_reference(), "json.md": json_reference()}


def main() -> None:
    """Write all of them."""
    for name, text in references().items():
        (DOCS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
