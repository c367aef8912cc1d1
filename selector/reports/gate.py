"""What a gate found: a line for each requirement, or GitHub's annotations."""

from __future__ import annotations

from selector.errors import printable
from selector.records import Gate, GateCheck

# About the whole ranking, or with the candidate's name in what is required.
_OF_THE_RUN = {"model", "ranked", "max_skipped", "max_age"}
_ATTACKED = {
    "accuracies": "attacked: an upper estimate",
    "errors": "attacked: a lower estimate",
}
_PROMISES = {
    "estimated": "estimated: rests on an attack",
    "certified": "certified: proven",
    "clean": "clean",
    "recorded": "recorded",
}


def to_text(gate: Gate) -> str:
    """A line for each requirement: ``holds`` or ``violated``, its key, required, found."""
    return "".join(f"{_state(check)} {_line(gate, check)}\n" for check in gate.checks)


def to_github(gate: Gate) -> str:
    """As text, but a workflow command for what is violated, which GitHub shows as an error."""
    return "".join(
        f"holds {_no_command(_line(gate, check))}\n"
        if check.holds
        else f"::error title={escape_property(f'selector gate: {check.requirement}')}"
        f"::{escape_data(_line(gate, check))}\n"
        for check in gate.checks
    )


def escape_data(text: str) -> str:
    """A message of a workflow command.

    >>> escape_data("50 %")
    '50 %25'
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """A property of a workflow command.

    >>> escape_property("a: b, c")
    'a%3A b%2C c'
    """
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


def _no_command(line: str) -> str:
    # The runner obeys this older form of its commands anywhere in a line.
    return line.replace("##[", "## [")


def _state(check: GateCheck) -> str:
    return "holds" if check.holds else "violated"


def _line(gate: Gate, check: GateCheck) -> str:
    of = f" of {gate.candidate}" if gate.candidate and check.requirement not in _OF_THE_RUN else ""
    said = f"{check.requirement}{of}: required {check.required}; found {check.found}"
    if check.images is not None:
        promises = _PROMISES | {"attacked": _ATTACKED[gate.ranked]}
        said += f" ({promises[check.kind]}, {check.images} images)"
    return printable(f"{said}: {check.reason}" if check.reason else said)
