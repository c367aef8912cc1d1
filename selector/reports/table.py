"""The ranking as a table for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from selector.errors import printable
from selector.norms import format_threat
from selector.records import (
    CertifiedCandidate,
    Choice,
    ImagesRecord,
    RaceRecord,
    RankedEvaluation,
    RankedRegression,
    Ranking,
    RankingRecord,
    RegressionChoice,
    Skipped,
)
from selector.reports import WIDTH
from selector.reports.certificates import certificates
from selector.reports.curves import curve_table
from selector.reports.standings import standings

LISTED = 4
_CONFIDENCE = (
    "At most: of all test images, by a short attack on those looked at, with an allowance. The"
    " confidence covers which images these are; not whether the allowance is enough, nor what other"
    " test images would show."
)


def print_table(ranking: Ranking, console: Console) -> None:
    """Print the table, the reasons of what is not in it, and the choice in one sentence."""
    console.print(Group(*_parts(ranking, min(WIDTH, console.width))))


def _parts(ranking: Ranking, width: int) -> list[RenderableType]:
    classes = f"{len(ranking.task.classes)} classes"
    parts: list[RenderableType] = [heading(ranking, ranking.task, classes)]
    if ranking.ranking:
        parts += standings(ranking, width)
    if ranking.curves:
        parts += curve_table(ranking.curves, width)
    if ranking.race:
        parts += _race(ranking.race)
    parts += below(ranking.skipped, ranking.ranking, ranking.choice)
    if ranking.race:
        parts.append(Text(printable(ranking.race.sentence), style="bold"))
    if ranking.certified is not None:
        parts.append(Text("\nCertified, in the order of the ranking", style="bold"))
        rows = [one for one in ranking.certified if isinstance(one, CertifiedCandidate)]
        parts += certificates(rows, width)
        parts += not_ranked([one for one in ranking.certified if isinstance(one, Skipped)])
    return parts


def heading(ranking: RankingRecord, task: ImagesRecord, targets: str) -> Text:
    """What was measured, and how; ``targets`` says what is to be told from the images."""
    protocol = ranking.protocol
    threat = format_threat(ranking.threat.norm, ranking.threat.eps)
    return Text.assemble(
        (printable(task.name), "bold"),
        f": {targets}, {task.test_images} test images of {task.image_size} px,"
        f" heads fitted on {task.train_images}\n",
        f"threat {threat}; {protocol.preset}: {protocol.attack} {protocol.restarts} x"
        f" {protocol.steps} steps on {ranking.device.type}, seed {protocol.seed}",
    )


def below(
    skipped: Sequence[Skipped],
    ranked: Sequence[RankedEvaluation | RankedRegression],
    choice: Choice | RegressionChoice | None,
) -> Iterator[Text]:
    """What follows on the table: who is not in it, what to read with care, and the choice."""
    if skipped:
        yield Text("\nNot ranked", style="bold")
        yield from not_ranked(skipped)
    notes: dict[str, list[str]] = {}
    for e in ranked:
        for flag in e.warnings:
            notes.setdefault(flag.message, []).append(e.name)
    if notes:
        yield Text("\nRead with care", style="bold")
    for message, names in notes.items():
        whose = "all" if len(names) == len(ranked) > 1 else ", ".join(names)
        yield Text(f"  {printable(whose)}: {printable(message)}.")
    if choice:
        yield Text(f"\n{printable(choice.sentence)}", style="bold")


def _race(race: RaceRecord) -> Iterator[Text]:
    """Who has no row, and why."""
    if race.eliminated:
        yield Text("\nEliminated early", style="bold")
        yield from (_line(one.name, f"{one.reason}.") for one in race.eliminated)
        yield Text(_CONFIDENCE, style="dim")
    if race.unsettled:
        yield Text("\nNot settled, the most promising first", style="bold")
        unseen = [one for one in race.unsettled if one.images == 0]
        alike = unseen if len(unseen) > LISTED else []
        yield from (_line(one.name, f"{one.reason}.") for one in race.unsettled if one not in alike)
        if alike:
            same = _same([one.name for one in alike])
            yield _line(alike[0].name, f"{alike[0].reason}. {same}")


def not_ranked(skipped: Sequence[Skipped]) -> Iterator[Text]:
    """Why some have no row, a line each; but one for many that have the same reason and way out."""
    groups: dict[tuple[str, str], list[Skipped]] = {}
    for one in skipped:
        groups.setdefault((one.code, one.hint), []).append(one)
    for (code, hint), members in groups.items():
        if len(members) <= LISTED:
            yield from (_line(one.name, f"[{code}] {one.reason} {hint}") for one in members)
            continue
        same = _same([one.name for one in members])
        yield _line(members[0].name, f"[{code}] {members[0].reason} {same} {hint}")


def _same(names: Sequence[str]) -> str:
    """Of whom what is said of the first is true as well."""
    return f"The same of {', '.join(names[1:LISTED])} and {len(names) - LISTED} more."


def _line(name: str, reason: str) -> Text:
    return Text.assemble((f"  {printable(name)}", "bold"), f" {printable(reason)}".rstrip())
