"""Whether this machine can work: one check for each thing that selector needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from selector.doctor.check import Check, State
from selector.doctor.machine import device, memory, speed
from selector.doctor.places import hub_cache, results
from selector.doctor.software import libraries, python
from selector.doctor.surroundings import hub, shell
from selector.errors import printable

__all__ = ["CHECKS", "Check", "examine", "works"]

_LONGEST = 160

# Name, what looks at it, and what it means where that fails itself.
CHECKS: tuple[tuple[str, Callable[[], Check], State], ...] = (
    ("Python", python, "problem"),
    ("libraries", libraries, "problem"),
    ("device", device, "problem"),
    ("cores", memory, "warning"),
    ("speed", speed, "problem"),
    ("results", results, "problem"),
    ("Hub cache", hub_cache, "warning"),
    ("Hub", hub, "warning"),
    ("shell", shell, "warning"),
)


def examine() -> Iterator[Check]:
    """Look at one thing after the other; a check that fails itself is a finding as well."""
    for name, look, otherwise in CHECKS:
        try:
            yield look()
        except Exception as error:  # noqa: BLE001 - a broken installation raises anything
            words = " ".join([f"{type(error).__name__}:", *str(error).split()])[:_LONGEST]
            yield Check(name, otherwise, f"could not be looked at: {printable(words)}")


def works(checks: tuple[Check, ...]) -> bool:
    """Whether a machine with these findings can measure."""
    return all(check.state != "problem" for check in checks)
