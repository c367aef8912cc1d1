"""Which of the listed candidates a run shall compare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from selector.candidates import Candidate, check_distinct, from_models, read_registry
from selector.errors import UsageError, printable, shorten

_COUNT = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)([KMB]?)", re.IGNORECASE)
_LISTED = 3
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


def parse_count(text: str, option: str = "--max-params") -> int:
    """Read a number of parameters; K, M and B are accepted.

    >>> parse_count("100M")
    100000000

    Raises:
        UsageError: it is not such a number.
    """
    match = _COUNT.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} must be a number such as 100M, found {shorten(repr(text))}.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


@dataclass(frozen=True)
class Selection:
    """What a candidate must fulfil; empty means anything.

    Attributes:
        only: shell patterns, one of which must match the name (``timm/vit_*``).
        tags: words, all of which it must carry.
        licenses: one of which it must have, in any case of letters.
        max_params: at most this many parameters; a candidate that does not say has too many.
    """

    only: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    max_params: int | None = None

    def admits(self, candidate: Candidate) -> bool:
        """Whether a candidate fulfils all of it."""
        license = (candidate.license or "").lower()
        return (
            (not self.only or any(fnmatchcase(candidate.name, p) for p in self.only))
            and set(self.tags) <= set(candidate.tags)
            and (not self.licenses or license in {wanted.lower() for wanted in self.licenses})
            and (
                self.max_params is None
                or (candidate.parameters is not None and candidate.parameters <= self.max_params)
            )
        )


def named(models: Sequence[str], registry: Path | None) -> tuple[Candidate, ...]:
    """The candidates that ``--model`` and ``--registry`` name; none if neither is given.

    Raises:
        UsageError: one of them is none, or is named twice.
    """
    chosen = from_models(models)
    if registry is not None:
        chosen += read_registry(registry)
        check_distinct(chosen, "--model and --registry together")
    return chosen


def listed_by(models: Sequence[str], registry: Path | None) -> str:
    """Who lists the candidates that :func:`named` gives; the shipped registry where it gives none.

    >>> listed_by(["timm/resnet18"], Path("zoo.yaml"))
    '--model and zoo.yaml'
    """
    given = ["--model"] if models else []
    given += [printable(str(registry))] if registry is not None else []
    return " and ".join(given) or "the registry that comes with selector"


def select(
    candidates: Sequence[Candidate], selection: Selection, where: str
) -> tuple[Candidate, ...]:
    """The candidates that a selection admits, in their order; ``where`` says who lists them.

    Raises:
        UsageError: it admits none; with the words that would.
    """
    admitted = tuple(filter(selection.admits, candidates))
    if not admitted:
        tags = sorted({tag for candidate in candidates for tag in candidate.tags})
        licenses = sorted({candidate.license or "unknown" for candidate in candidates})
        names = [shorten(printable(candidate.name), 80) for candidate in candidates[:_LISTED]]
        raise UsageError(
            f"--only, --tag, --license and --max-params must admit a candidate, found none of"
            f" {len(candidates)} of {where}.",
            hint=f"Its names are such as {', '.join(names)}; its tags"
            f" {', '.join(tags) or 'none'}; its licences {', '.join(licenses)}.",
        )
    return admitted
