"""What all crash tests share: a folder, a Hub, the undisturbed run; and how outcomes are told."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from fakehub.server import FakeHub

from crash.evidence import read_output
from crash.kills import Reference
from crash.place import SHORT, Ended, Place


@dataclass(frozen=True)
class Outcome:
    """What was injected, and what came of it.

    Attributes:
        fault: which one; the name that ``--fault`` takes.
        injected: where and how, in words.
        came: exit codes and rows, in words.
        wrong: what is not as it must be; empty where all is well.
    """

    fault: str
    injected: str
    came: str
    wrong: tuple[str, ...] = ()


@dataclass
class Bench:
    """Places for runs, one after the other, beside the run that nobody disturbed."""

    folder: Path
    hub: FakeHub
    reference: Reference
    count: int = 0
    wrong: list[str] = field(default_factory=list)

    def place(self, arguments: tuple[str, ...] = SHORT) -> Place:
        """A new one."""
        self.count += 1
        return Place(self.folder / f"{self.count:03}", self.hub, arguments)

    def expect(self, ended: Ended, code: int, *words: str) -> None:
        """A run must have ended with this code, and have said these words."""
        said = " ".join((ended.stdout + ended.stderr).split())
        if ended.code != code:
            self.wrong.append(f"exit code {ended.code}, not {code}: {said[-300:]}")
        self.wrong += [
            f"does not say {word!r}: {said[-300:]}" for word in words if word not in said
        ]
        if "Traceback" in said:
            self.wrong.append(f"a traceback: {said[-600:]}")

    def expect_same(self, place: Place) -> None:
        """The ranking must be that of the undisturbed run, and nothing else be left."""
        if read_output(place.output) != self.reference.document:
            self.wrong.append("another ranking than undisturbed")
        self.expect_clean(place)

    def expect_clean(self, place: Place) -> None:
        """Nothing is left behind, and the Hub cache holds what the Hub has."""
        self.wrong += [f"left behind: {one}" for one in place.strays()]
        self.wrong += [f"altered in the Hub cache: {one}" for one in place.altered()]

    def outcome(self, fault: str, injected: str, came: str) -> Outcome:
        """What came of a case, with what was wrong since the last one."""
        wrong, self.wrong = tuple(self.wrong), []
        return Outcome(fault, injected, came, wrong)


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table of Markdown."""
    rows = ["| fault | injected | came out |", "|---|---|---|"]
    for one in outcomes:
        came = f"**WRONG**: {'; '.join(one.wrong)[:400]}" if one.wrong else one.came
        rows.append(f"| `{one.fault}` | {one.injected} | {came} |")
    return "\n".join(rows)


def versions() -> dict[str, str]:
    """What the runs were made with."""
    names = ("selector", "torch", "timm", "huggingface-hub")
    return {name: version(name) for name in names} | {"python": platform.python_version()}
