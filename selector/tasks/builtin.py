"""Tasks that come with selector, so that a first run needs nothing."""

from __future__ import annotations

from collections.abc import Callable

from selector.demo.digits import load_digits
from selector.errors import UsageError
from selector.tasks.listing import Example, Listing, divide

BUILTIN_PREFIX = "builtin:"


def list_builtin(name: str, seed: int) -> Listing:
    """The built-in task of that name, split by ``seed``.

    Raises:
        UsageError: there is none.
    """
    if name not in BUILTIN_TASKS:
        raise UsageError(
            f"--task builtin: must name one of {', '.join(BUILTIN_TASKS)}, found {name!r}."
        )
    return BUILTIN_TASKS[name](seed)


def _digits(seed: int) -> Listing:
    pixels, labels = load_digits()
    examples: list[Example] = list(zip(pixels, labels.tolist(), strict=True))
    train, test = divide(examples, 1 / 3, seed)
    return Listing("digits", tuple("0123456789"), train, [], test)


BUILTIN_TASKS: dict[str, Callable[[int], Listing]] = {"digits": _digits}
