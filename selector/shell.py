"""What a shell needs for the name ``select``, which bash and zsh reserve for a loop."""

from __future__ import annotations

from typing import Literal, get_args

Shell = Literal["bash", "zsh", "fish"]
SHELLS: tuple[Shell, ...] = get_args(Shell)

# An alias is expanded before the shell looks for reserved words; loops written as
# `select x in ...` after this point break, which is why nothing is written to rc files.
_ALIAS = "alias select='command select'\n"


def init_script(shell: Shell) -> str:
    """Text for ``eval "$(selector shell-init SHELL)"``: the alias, and completion of both names.

    fish does not reserve the word, so there it is completion alone.
    """
    from typer._completion_shared import get_completion_script

    completion = "\n".join(
        get_completion_script(prog_name=name, complete_var=f"_{name.upper()}_COMPLETE", shell=shell)
        for name in ("selector", "select")
    )
    if shell == "zsh":
        # Without compinit there is no compdef, and nothing to complete with.
        completion = f"if (( $+functions[compdef] )); then\n{completion}\nfi"
    return f"{'' if shell == 'fish' else _ALIAS}{completion}\n"
