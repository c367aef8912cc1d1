"""Options from the environment and from a file, for all commands.

The command line is before the environment, that is before the file, and the file before defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from selector.configuration import Configuration, Configured, Form, find, read, using
from selector.errors import UsageError, printable

PREFIX = "SELECT"
# Options that a folder somebody sent, or a variable somebody forgot, must not switch on; and why.
TYPED_ONLY = {
    "push": "it sends results to the Hub",
    "create-pr": "it opens a pull request on the Hub",
    "allow-pickle": "it loads files in a format that can hold code",
}
# Options that a file must be named for; and why.
TRUSTED_ONLY = {
    "store": "what lies there passes for measured",
    "engine": "it hands work to other processes, and takes what they answer",
}
_WANTS_HELP = f"{__name__}.wants_help"
Origin = Literal["default", "file", "environment", "command line"]
_ORIGINS: dict[str, Origin] = {
    "DEFAULT": "default",
    "DEFAULT_MAP": "file",
    "ENVIRONMENT": "environment",
    "COMMANDLINE": "command line",
}


class ConfigurableGroup(TyperGroup):
    """Commands whose help does not name variables, and that are not set by those of TYPED_ONLY."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remember whether help is wanted, of the program or of a command."""
        ctx.meta[_WANTS_HELP] = not set(ctx.help_option_names).isdisjoint(args)
        return super().parse_args(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """As typer does it; `selector config` shows the variables."""
        command = super().get_command(ctx, cmd_name)
        for option in _options(command) if command is not None else ():
            option.show_envvar = False
            option.allow_from_autoenv = _key(option) not in TYPED_ONLY
        return command


class ConfigurableCommand(TyperCommand):
    """A command whose documents and errors say which of its options were not typed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read them; what a file says was read before, so that only a variable can be wrong."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            name = getattr(error.param, "name", None)
            source = ctx.get_parameter_source(name) if name else None
            if source is not None and _ORIGINS[source.name] == "environment":
                where = _variable(ctx.auto_envvar_prefix, error.param)
                error.message = f"{error.message.rstrip('.')}. It is from {where}."
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        options = tuple(
            Configured(one.option, one.text, one.where)
            for one in (_given(ctx, option) for option in _options(self))
            if one.origin in ("file", "environment")
        )
        with using(options):
            return super().invoke(ctx)


@dataclass(frozen=True)
class Resolved:
    """The value of an option, and where it comes from.

    Attributes:
        option: with its dashes.
        value: None where there is none.
        origin: in a word.
        variable: of the environment, that sets it; empty if it only counts when typed.
        where: the file and its table, or the variable; empty for others.
    """

    option: str
    value: bool | int | float | str | list[str] | None
    origin: Origin
    variable: str
    where: str

    @property
    def text(self) -> str:
        """The value as it would be typed; of a list, separated by spaces."""
        if isinstance(self.value, list):
            return " ".join(self.value)
        if isinstance(self.value, bool):
            return str(self.value).lower()
        return "" if self.value is None else str(self.value)


def configure(ctx: typer.Context, file: Path | None) -> None:
    """Let the options of all commands have what a file says as their defaults.

    Help is given whatever the file says.

    Args:
        ctx: of the program.
        file: None for the nearest from the working folder upwards.

    Raises:
        UsageError: the file is not one, or says what no option can be.
    """
    ctx.obj = Configuration()
    with suppress(UsageError) if ctx.meta[_WANTS_HELP] else nullcontext():
        _configure(ctx, file)


def _configure(ctx: typer.Context, file: Path | None) -> None:
    path = find(Path.cwd()) if file is None else file
    if path is None:
        return
    commands = {name: _by_key(command) for name, command in commands_of(ctx).items()}
    forms = {
        name: {key: Form(_is_flag(option), option.multiple) for key, option in options.items()}
        for name, options in commands.items()
    }
    ctx.obj = read(path, forms)
    _refuse_typed_only(ctx.obj)
    if file is None:
        _refuse_trusted_only(ctx.obj)
        _refuse_output_elsewhere(ctx.obj, path)
    ctx.default_map = {
        name: {
            commands[name][key].name: _checked(ctx, commands[name][key], value, f"{where} {key}")
            for key, value in table.items()
        }
        for name, table in ctx.obj.tables.items()
        for where in (ctx.obj.table(name),)
    }


def commands_of(ctx: Any) -> Mapping[str, Any]:
    """The commands of the program, by name, in their order."""
    group = ctx.command
    return {name: group.get_command(ctx, name) for name in group.list_commands(ctx)}


def variables_of(ctx: Any) -> dict[str, str]:
    """The keys of the options of all commands, by the variables that are named after them."""
    return {
        _variable(f"{PREFIX}_{name}".replace("-", "_").upper(), option): _key(option)
        for name, command in commands_of(ctx).items()
        for option in _options(command)
    }


def resolve(ctx: Any, name: str, command: Any) -> Iterator[Resolved]:
    """The options of a command as they would be if none were typed.

    Args:
        ctx: of the program.
        name: of the command.
        command: itself.
    """
    inner = type(ctx)(command, parent=ctx, info_name=name)
    for option in _options(command):
        value, source = option.consume_value(inner, {})
        # What cannot be read is shown as it is; the command itself says what is wrong.
        with suppress(typer.BadParameter):
            value = option.process_value(inner, value)
        yield _resolved(inner, option, value, source)


def _given(ctx: Any, option: Any) -> Resolved:
    """An option of a command that runs now."""
    return _resolved(
        ctx, option, ctx.params.get(option.name), ctx.get_parameter_source(option.name)
    )


def _resolved(ctx: Any, option: Any, value: object, source: Any) -> Resolved:
    origin = _ORIGINS[source.name]
    key = _key(option)
    variable = "" if key in TYPED_ONLY else _variable(ctx.auto_envvar_prefix, option)
    wheres = {"file": ctx.obj.table(ctx.info_name), "environment": variable}
    where = wheres.get(origin, "")
    return Resolved(f"--{key}", _plain(value), origin, variable, where)


def _variable(prefix: str, option: Any) -> str:
    return f"{prefix}_{option.name.upper()}"


def _refuse_typed_only(file: Configuration) -> None:
    for command, table in file.tables.items():
        for key in table:
            if key in TYPED_ONLY:
                raise UsageError(
                    f"{file.table(command)} {key}: counts only if typed, as {TYPED_ONLY[key]}.",
                    hint=f"Take it out of the file, and type --{key} where it is meant.",
                )


def _refuse_trusted_only(file: Configuration) -> None:
    """A file that was found, in a folder of somebody, must not say whom to believe."""
    for command, table in file.tables.items():
        for key in table:
            if key in TRUSTED_ONLY:
                raise UsageError(
                    f"{file.table(command)} {key}: does not count in a file that was found, as"
                    f" {TRUSTED_ONLY[key]}.",
                    hint=f"Type --{key}, or name the file: selector --config FILE.",
                )


def _refuse_output_elsewhere(file: Configuration, path: Path) -> None:
    """A file that was found, in a folder of somebody, must not choose what is overwritten."""
    folder = path.resolve().parent
    for command, table in file.tables.items():
        output = table.get("output")
        if output is not None and not Path(str(output)).resolve().is_relative_to(folder):
            raise UsageError(
                f"{file.table(command)} output: must lie in the folder of that file, found"
                f" {printable(str(output))}.",
                hint="Type --output, or name the file: selector --config FILE.",
            )


def _plain(value: object) -> bool | int | float | str | list[str] | None:
    if isinstance(value, list | tuple):
        return [str(one) for one in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


def _checked(ctx: typer.Context, option: Any, value: object, where: str) -> object:
    """A value that its option can read; it is read again when the command is."""
    try:
        option.process_value(ctx, value)
    except typer.BadParameter as error:
        said = error.message.removeprefix("Value error, ").rstrip(".")
        raise UsageError(printable(f"{where}: {said}, found {value!r}.")) from None
    return value


def _by_key(command: Any) -> dict[str, Any]:
    return {_key(option): option for option in _options(command)}


def _options(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "option"]


def _key(option: Any) -> str:
    """The long name without its dashes: what a file calls it."""
    longest: str = max(option.opts, key=len)
    return longest.lstrip("-")


def _is_flag(option: Any) -> bool:
    return bool(option.is_flag)
