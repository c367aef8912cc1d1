"""The oldest versions that pyproject.toml allows, as constraints for pip: ``make check-oldest``."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def oldest(project: dict[str, Any]) -> list[str]:
    """``name==version`` of the lower bound of each dependency of the program.

    Args:
        project: the table ``project`` of a pyproject.toml.

    Raises:
        ValueError: a dependency of the program has no lower bound.
    """
    needed = project["dependencies"]
    bounds = {one: re.match(r"([\w.-]+)>=([\w.]+)", one) for one in needed}
    if unbound := [one for one, bound in bounds.items() if bound is None]:
        raise ValueError(f"without a lower bound: {', '.join(unbound)}")
    return [f"{bound[1]}=={bound[2]}" for bound in bounds.values() if bound]


if __name__ == "__main__":
    sys.stdout.write("\n".join(oldest(tomllib.loads(PYPROJECT.read_text())["project"])) + "\n")
