"""Blocks of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

PROGRAM = "selector"
_MARKUP = re.compile(r"[\\*<|$]|(?<!\w)_|_(?!\w)")


def joined(parts: list[str]) -> str:
    """Blocks with an empty line between them; items of a list without."""
    text = ""
    for before, part in zip(["", *parts], parts, strict=False):
        tight = before.startswith("- ") and part.startswith("- ")
        text += ("\n" if tight else "\n\n") * bool(text) + part
    return text + "\n"


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table; columns that are empty in all rows are left out."""
    kept = [place for place in range(len(header)) if any(row[place] for row in rows)]
    lines = [[header[place] for place in kept], ["---"] * len(kept)]
    lines += [[row[place] for place in kept] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def fenced(language: str, text: str) -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```"


def code(text: str) -> str:
    """Code within a line; a bar would end the cell of a table."""
    return f"`{text.replace('|', chr(92) + '|')}`"


def escaped(text: str) -> str:
    """Text in which Markdown sees no markup; what is in backticks stays."""
    parts = re.split(r"(``?[^`]+``?)", text)
    return "".join(
        code(part.strip("`")) if part.startswith("`") else _MARKUP.sub(r"\\\g<0>", part)
        for part in parts
    )


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs as they are; those that are commands in a block of their own."""
    for paragraph in re.split(r"\n\s*\n", text.partition("\f")[0].strip()):
        lines = [line.strip() for line in paragraph.replace("\b", "").strip().splitlines()]
        if all(line.startswith((f"{PROGRAM} ", "$ ")) for line in lines):
            yield fenced("console", "\n".join("$ " + line.removeprefix("$ ") for line in lines))
        else:
            yield escaped(" ".join(lines))


def first_line(text: str | None) -> str:
    """What a list of commands says of one."""
    return escaped(" ".join((text or "").strip().split("\n\n")[0].split()))
