"""What happens during a run, on stderr: bars for people, a line per candidate for logs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from selector.errors import printable
from selector.events import (
    Entered,
    Event,
    Fetched,
    FetchStarted,
    Finished,
    Looked,
    Passed,
    Recalled,
    Retried,
    Started,
    Underway,
)
from selector.records import Outcome, Skipped

_CUT: dict[str, Any] = {"no_wrap": True, "overflow": "ellipsis"}


class Display:
    """Follows the events of a run; use as a context manager.

    On a terminal there is a bar for the candidate that is being measured, with its stage, one for
    all, and one for what is fetched meanwhile; each with the time that is left. Where several are
    measured at once, the bar for all says so.

    Args:
        console: on stderr.
        candidates: how many will be measured.
        passes_each: forward passes one of them takes, in images.
        verb: what is done with them.
    """

    def __init__(
        self, console: Console, candidates: int, passes_each: int, verb: str = "measured"
    ) -> None:
        self._console, self._verb = console, verb
        self._candidates, self._passes_each = candidates, passes_each
        self._done = 0
        self._recalled = 0
        self._progress = Progress(
            # In a narrow terminal a long name gives way, and neither stage nor time.
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=2, **_CUT)),
            TextColumn("{task.fields[stage]}", markup=False),
            BarColumn(bar_width=None, table_column=Column(ratio=1, max_width=40)),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            transient=True,
            expand=True,
            # Where stdout goes elsewhere, what is written to it meanwhile belongs there.
            redirect_stdout=sys.stdout.isatty(),
            disable=not console.is_terminal,
        )
        self._fetch = self._progress.add_task(
            "fetching", total=0, visible=False, amount="", stage=""
        )
        self._one = self._progress.add_task(
            "", total=passes_each, visible=False, amount="", stage=""
        )
        total = candidates * passes_each
        self._bar = self._progress.add_task(
            "all", total=total, visible=candidates > 1, amount="", stage=""
        )

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @property
    def done(self) -> int:
        """Candidates that are through."""
        return self._done

    def follow(self, events: Iterable[Event]) -> list[Outcome]:
        """Show every event, and return the outcomes."""
        outcomes: list[Outcome] = []
        for event in events:
            match event:
                case Started(name):
                    self._start(name)
                case Entered(stage):
                    self._progress.update(self._one, stage=stage)
                case Passed(images):
                    for bar in (self._one, self._bar):
                        self._progress.advance(bar, images)
                        self._count(bar, 1, "images")
                case Recalled(images):
                    self._recalled += images
                case FetchStarted(count):
                    total = (self._progress.tasks[self._fetch].total or 0) + count
                    self._progress.update(self._fetch, total=total, visible=True)
                    self._count(self._fetch, 1e6, "MB")
                case Fetched(count):
                    self._progress.advance(self._fetch, count)
                    self._count(self._fetch, 1e6, "MB")
                case Underway(names):
                    self._progress.update(self._bar, description=_together(names))
                case Retried(name, reason):
                    self._say(f"{name}: {reason}; begun again")
                case Looked(name, images, share):
                    self._say(f"{name}: at most {share:.0%} withstand ({images} images looked at)")
                case Finished(outcome, reused):
                    outcomes.append(outcome)
                    self._finish(outcome, reused)
        return outcomes

    def _start(self, name: str) -> None:
        # In a race others may have been looked at since one was begun.
        self._recalled = 0
        self._progress.reset(
            self._one,
            total=self._passes_each,
            description=printable(f"{self._done + 1}/{self._candidates} {name}"),
            visible=True,
            amount="",
            stage="",
        )

    def _count(self, bar: TaskID, unit: float, name: str) -> None:
        task = self._progress.tasks[bar]
        done, total = task.completed / unit, (task.total or 0) / unit
        self._progress.update(bar, amount=f"{done:,.0f} of {total:,.0f} {name}")

    def _finish(self, outcome: Outcome, reused: bool) -> None:
        self._done += 1
        # A candidate that was skipped or reused made fewer passes than planned.
        through = max(self._done * self._passes_each, self._progress.tasks[self._bar].completed)
        self._progress.update(self._bar, completed=through)
        if isinstance(outcome, Skipped):
            what = f"skipped, {outcome.reason}"
        elif reused:
            what = "kept from an earlier run"
        else:
            cost = outcome.cost
            what = f"{self._verb} in {cost.seconds:.1f} s, {cost.forward_passes} images forward"
            if self._recalled:
                what += f", {self._recalled} of them from the store"
        self._recalled = 0
        self._say(f"{self._done}/{self._candidates} {outcome.name}: {what}")

    def _say(self, line: str) -> None:
        self._console.print(
            printable(line),
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=True,
        )


def _together(names: Sequence[str]) -> str:
    """Who is measured at once: of many the first, and how many more."""
    if not names:
        return "all"
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return printable(f"all; {names[0]}{others} under way")
