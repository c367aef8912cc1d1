"""The reference of the command line, read off the Typer app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from reference.markdown import PROGRAM, code, escaped, fenced, first_line, joined, paragraphs, table
from selector.cli import app

SCALARS = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH", bool: ""}


def cli_reference() -> str:
    """Every command with its usage, arguments, options, types, defaults and help."""
    root = typer.main.get_command(app)
    parts = [
        "# Commands",
        "*Written by `make docs` from the program itself.*",
        escaped(root.help or ""),
        "`select` is the same program as `selector`; the [README](../README.md) says why"
        " documentation uses the latter.",
        *[f"- {linked(name)}: {first_line(one.help)}" for name, one in commands(root)],
        *options_table(root),
        "## Exit codes",
        *exit_codes(root.epilog or ""),
    ]
    for name, command in commands(root):
        parts += [f"## {PROGRAM} {name}", *described(name, command)]
    return joined(parts)


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full name and command of each that is shown, in the order of ``--help``."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        full = f"{prefix}{name}"
        yield full, command
        if hasattr(command, "commands"):
            yield from commands(command, f"{full} ")


def described(name: str, command: Any) -> Iterator[str]:
    """Usage, help, arguments and options of one command."""
    arguments = [one for one in command.params if not is_option(one)]
    shown = [argument_usage(one) for one in arguments]
    yield fenced("text", " ".join((PROGRAM, name, "[OPTIONS]", *shown)))
    yield from paragraphs(command.help or "")
    if arguments:
        yield table(
            ("argument", "values", "default", "meaning"),
            [(code(shown_name(one)), *explained(command, one)) for one in arguments],
        )
    yield from options_table(command)


def options_table(command: Any) -> Iterator[str]:
    """One row for each option that is shown."""
    options = [one for one in command.params if is_option(one) and not one.hidden]
    if options:
        yield table(
            ("option", "values", "default", "meaning"),
            [
                (", ".join(map(code, (*one.opts, *one.secondary_opts))), *explained(command, one))
                for one in options
            ],
        )


def explained(command: Any, param: Any) -> tuple[str, str, str]:
    """Values, default and help of an option or argument."""
    otherwise = bool if getattr(param, "is_flag", False) else str
    annotation = get_type_hints(command.callback).get(param.name, otherwise)
    return values(param, annotation), default(param), escaped(param.help or "")


def values(param: Any, annotation: Any) -> str:
    """What may be given: the choices, the metavar, or the type."""
    inner = plain(annotation)
    if get_origin(inner) is Literal:
        return ", ".join(map(code, map(str, get_args(inner))))
    word = (param.metavar if is_option(param) else None) or SCALARS.get(inner, "TEXT")
    if is_option(param) and is_list(annotation):
        word += "..."
    limits = [f"{sign} {limit}" for sign, limit in limits_of(param) if limit is not None]
    return " ".join((code(word) if word else "", *limits)).strip()


def limits_of(param: Any) -> tuple[tuple[str, Any], ...]:
    """Smallest and largest value, where there is one."""
    return ("≥", getattr(param, "min", None)), ("≤", getattr(param, "max", None))


def plain(annotation: Any) -> Any:
    """The type itself, of an optional or a repeated one; of several, the first."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(one for one in get_args(annotation) if one is not NoneType)
    return get_args(annotation)[0] if get_origin(annotation) is list else annotation


def is_list(annotation: Any) -> bool:
    """Whether several values may be given."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return any(get_origin(part) is list for part in parts)


def default(param: Any) -> str:
    """As it would be typed; nothing where there is none, or it depends on the rest."""
    if param.required:
        return "required"
    found = param.default() if callable(param.default) else param.default
    if found is None or found is False or found in ((), []):
        return ""
    return "on" if found is True else code(str(found))


def is_option(param: Any) -> bool:
    """Rather than an argument."""
    return all(name.startswith("-") for name in param.opts)


def shown_name(argument: Any) -> str:
    """What ``--help`` calls it."""
    return argument.metavar or argument.name.upper()


def argument_usage(argument: Any) -> str:
    """As in a usage line."""
    name = shown_name(argument) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def exit_codes(epilog: str) -> Iterator[str]:
    """The table of what the program says below its ``--help``."""
    _, _, listed = epilog.partition("Exit codes: ")
    if not listed:
        raise ValueError("the epilog of --help must list the exit codes")
    rows = [one.strip().partition(" ") for one in listed.rstrip(".").split(";")]
    yield table(("code", "meaning"), [(code(number), escaped(what)) for number, _, what in rows])


def linked(name: str) -> str:
    """A command's name, with a link to its section."""
    return f"[{code(name)}](#{PROGRAM}-{name.replace(' ', '-')})"
