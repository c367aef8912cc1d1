"""Text of anybody's in Markdown: shown as it is, and acted on by nothing."""

from __future__ import annotations

import re

from selector.errors import printable

# A character reference is text wherever it stands, and never the beginning of a structure. One
# stands for every mark that could be it; the @ is followed by a space without width, as GitHub
# would notify whoever it names. What would make a link of an address is among them.
_MARKS = re.compile(
    r"[&<>\\`*\[\]|~#$!@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE
)
# In a span of code all but these is text as it is.
_BREAKS_CODE = re.compile(r"([`|\\]+)")


def prose(text: str) -> str:
    """Text that renders as itself, whatever it holds."""
    return _MARKS.sub(_reference, printable(text))


def code(text: str) -> str:
    """A name that renders as itself in a typewriter face, also in a table."""
    parts = _BREAKS_CODE.split(printable(text))
    return "".join(
        part and (prose(part) if _BREAKS_CODE.fullmatch(part) else f"`{part}`") for part in parts
    )


def _reference(match: re.Match[str]) -> str:
    mark = match[0]
    return f"&#{ord(mark)};" + ("&#8203;" if mark == "@" else "")
