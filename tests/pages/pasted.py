"""What stands below ``<!-- run -->``, and Python: run as it stands, and its output compared."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence

from pages.agreed import UNSTEADY
from pages.place import Place
from pages.reading import Block
from pages.running import Outcome, last_of, start, typed_in

LEFT_OUT = "..."
_TIME = re.compile(r"\d+(\.\d+)? (h|min|s)\b( \d+ (min|s)\b)?")
_LONG = re.compile(r"\d+\.\d{6,}")


def plain(text: str) -> list[str]:
    """The lines of an output without times, and without the room that they take in a table."""
    lines = (re.sub(r"[ ─━]*([ ─━])", r"\1", _TIME.sub("TIME", line)) for line in text.splitlines())
    return [line.rstrip() for line in lines]


def alike(pasted: str, printed: str) -> bool:
    """Whether two lines say the same; numbers of many digits may differ by 1 %.

    That is what other threads and processors cost at most: see docs/reliability.md.

    >>> alike("a\\t4.447991250541014", "a\\t4.446691719556647"), alike("a 0.52", "a 0.521")
    (True, False)
    """
    if _LONG.sub("", pasted) != _LONG.sub("", printed):
        return False
    pairs = zip(_LONG.findall(pasted), _LONG.findall(printed), strict=True)
    return all(math.isclose(float(one), float(other), rel_tol=0.01) for one, other in pairs)


def differences(pasted: str, printed: str) -> Iterator[str]:
    """Lines of a pasted output that were not printed; ``...`` stands for any lines.

    >>> list(differences("a 1 s\\n...\\nd\\n", "a 2 s\\nb\\nc\\nd\\n"))
    []
    >>> list(differences("a 1\\n...\\nd 3\\n", "a 2\\nb\\nd 3\\n"))
    ["page 'a 1', now 'a 2'"]
    """
    left = plain(printed)
    for piece in re.split(rf"^{re.escape(LEFT_OUT)}$", "\n".join(plain(pasted)), flags=re.M):
        wanted = piece.strip("\n").split("\n") if piece.strip() else []
        at = place_of(wanted, left)
        if at is not None:
            left = left[at + len(wanted) :]
            continue
        lacking = [line for line in wanted if not any(alike(line, one) for one in left)]
        yield from (near(line, left) for line in lacking)
        if not lacking:
            yield f"not in this order: {wanted[0]!r} ..."


def place_of(wanted: Sequence[str], left: Sequence[str]) -> int | None:
    """Where lines stand among others, one after the other."""
    for at in range(len(left) - len(wanted) + 1):
        if all(map(alike, wanted, left[at : at + len(wanted)])):
            return at
    return None


def near(line: str, printed: Sequence[str]) -> str:
    """A line that was not printed, and the one that is most like it."""
    found = difflib.get_close_matches(line, printed, 1)
    return f"page {line!r}, now {found[0] if found else None!r}"


def block_of_commands(block: Block, place: Place) -> Iterator[Outcome]:
    """The commands of a block, and of the last what all of them printed against the page."""
    printed = ""
    for command in block.commands:
        ended, wrong = typed_in(command, place)
        printed += ended.stdout
        came = f"exit code {ended.code}"
        if command in UNSTEADY:
            came += f", output not compared: {UNSTEADY[command]}"
        elif command == block.commands[-1] and block.answer is not None:
            wrong += tuple(differences(block.answer, printed))
            came += ", the same output"
        yield Outcome(block.page, command, "pasted", came, ended.seconds, wrong)


def block_of_python(block: Block, place: Place) -> Outcome:
    """A block of Python, run as a program."""
    ended = start(["python", "-c", block.body], place)
    wrong = [f"exit code {ended.code}: {last_of(ended)}"] if ended.code else []
    came = "exit code 0"
    if block.answer is not None:
        wrong += differences(block.answer, ended.stdout)
        came += ", the same output"
    command = "python: " + block.body.strip().splitlines()[-1]
    return Outcome(block.page, command, "pasted", came, ended.seconds, tuple(wrong))
