"""What a run would take, as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selector.errors import printable
from selector.records import Plan, PlannedCandidate, PlannedRace
from selector.reports import WIDTH


def print_plan(plan: Plan, console: Console) -> None:
    """Print one row for each candidate, and the sum."""
    table = Table(width=min(WIDTH, console.width), pad_edge=False, header_style="bold")
    table.add_column("backbone", ratio=1, overflow="fold")
    table.add_column("to fetch", justify="right", no_wrap=True)
    table.add_column("passes", justify="right", no_wrap=True)
    table.add_column("time, about", justify="right", no_wrap=True)
    rows = [one for one in plan.candidates if not one.code]
    for one in rows:
        table.add_row(Text(printable(one.name)), *_cells(one))
    if rows:
        table.add_section()
        table.add_row("all in full" if plan.race else "all", *_cells(_sum(rows)), style="bold")
        if plan.race:
            table.add_section()
            table.add_row(*_race("race, at least", plan.race.least_passes, plan.race.least_seconds))
            table.add_row(*_race("race, at most", plan.race.most_passes, plan.race.most_seconds))
        console.print(table)
        console.print(
            "passes: images through the network, forward and back, with one class pair in doubt for"
            " each image and head, which is not known before. time: of the passes, from a"
            " short timing of each network on this machine; fetching comes on top where it is"
            " slower than measuring.",
            style="dim",
        )
    if plan.race:
        console.print(_legend(plan.race), style="dim")
    for one in plan.candidates:
        if one.code:
            said = printable(f"{one.name} [{one.code}] {one.reason}")
            console.print(said, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _cells(one: PlannedCandidate) -> tuple[str, str, str]:
    if one.kept:
        return "-", "-", "kept from an earlier run"
    fetch = f"{one.bytes_to_fetch / 1e6:,.1f} MB" if one.bytes_to_fetch else "here already"
    return fetch, f"{one.passes:,}", duration(one.estimated_seconds)


def _race(name: str, passes: int, seconds: float) -> tuple[str, str, str, str]:
    return name, "", f"{passes:,}", duration(seconds)


def _legend(race: PlannedRace) -> str:
    said = "race: about a look at each candidate at least, and those wanted measured in full;"
    said += " at most all looks, and all measured in full."
    if race.budget_seconds is not None:
        said += f" It ends after {duration(race.budget_seconds)} in any case."
    return said


def _sum(rows: list[PlannedCandidate]) -> PlannedCandidate:
    return PlannedCandidate(
        name="all",
        model="",
        bytes_to_fetch=sum(one.bytes_to_fetch for one in rows),
        passes=sum(one.passes for one in rows),
        estimated_seconds=sum(one.estimated_seconds for one in rows),
    )


def duration(seconds: float) -> str:
    """A time in two units at most.

    >>> duration(4), duration(89), duration(7 * 3600 + 59)
    ('4 s', '1 min 29 s', '7 h 0 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
