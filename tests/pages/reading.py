"""The pages of the documentation, and what they say to type: read, not run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.glob("*.md")),
    ROOT / "examples" / "README.md",
)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"^<!-- run -->\n+\Z", re.MULTILINE)
ANSWER = re.compile(r"\A\n+```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "2>", "<"}


def read(page: Path) -> str:
    """The text of a page."""
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    """A page as people call it: from the root of the repository."""
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: its name.
        language: the word after the fence.
        body: what stands in it.
        marked: it stands below ``<!-- run -->``.
        answer: the block of text that follows it at once; None if there is none.
    """

    page: str
    language: str
    body: str
    marked: bool
    answer: str | None

    @property
    def commands(self) -> tuple[str, ...]:
        """What it says to type in a shell, without comments, each on one line.

        In blocks of ``console`` that is what follows a prompt, in blocks of ``sh`` every line.
        """
        if self.language == "console":
            lines = list(typed(self.body))
        elif self.language == "sh":
            lines = self.body.replace("\\\n", " ").splitlines()
        else:
            lines = []
        return tuple(filter(None, map(without_comment, lines)))


def blocks_of(page: Path) -> tuple[Block, ...]:
    """All fenced blocks of a page, in order."""
    text, found = read(page), []
    for fence in FENCE.finditer(text):
        answer = ANSWER.match(text[fence.end() :])
        marked = MARK.search(text[: fence.start()]) is not None
        body = answer[1] if answer else None
        found.append(Block(name_of(page), fence[1], fence[2], marked, body))
    return tuple(found)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in some language."""
    return [block.body for block in blocks_of(page) if block.language == language]


def typed(block: str) -> Iterator[str]:
    """What is typed after each prompt of a console block, continued lines joined."""
    for line in block.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            yield line.removeprefix("$ ")


def without_comment(line: str) -> str:
    """A line of shell without its comment and without spaces more than needed."""
    return " ".join(re.sub(r"(^|\s)# .*$", "", line).split())


def programs(line: str) -> Iterator[list[str]]:
    """The programs that a line of shell starts, each with its arguments."""
    words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    words.whitespace_split, words.commenters = True, "#"
    found: list[str] = []
    for word in [*words, ";"]:
        if word not in ENDS:
            found.append(word)
            continue
        while found and re.fullmatch(r"[A-Z_]+=.*", found[0]):
            del found[0]
        if found:
            yield found
        # What follows a redirection is a file.
        found = ["file"] if ">" in word or "<" in word else []


def lines_of(page: Path) -> list[str]:
    """All that a page says to type."""
    return [line for block in blocks_of(page) for line in block.commands]
