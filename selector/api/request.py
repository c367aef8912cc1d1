"""What a call asks for, as the command line would: the arguments that its functions share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from selector.api.call import written_call
from selector.api.candidates import choose
from selector.api.tasks import Given, image_size
from selector.arguments import (
    Threat,
    number,
    one_threat,
    said,
    seconds,
    text,
    whole,
    whole_or_none,
)
from selector.engines import choose_engine
from selector.errors import UsageError
from selector.norms import Norm, check_threats
from selector.objectives import choose_objective
from selector.protocol import Overrides
from selector.racing import choose_goal
from selector.radii import Leaders, choose_leaders
from selector.request import Request

# What a function asks for that has no such parameter.
_UNASKED: dict[str, Any] = {
    "objective": None,
    "engine": "local",
    "top": None,
    "confidence": None,
    "budget": None,
    "certify": None,
    "sigma": None,
}
Threats = tuple[tuple[Norm, float], ...]


def build_request(
    function: Callable[..., object], arguments: Mapping[str, Any], task: Given, threats: Threats
) -> Request:
    """What a call asks for.

    Args:
        function: that is called.
        arguments: of the call, by name, as :func:`selector.rank` says what they are; what it says
            by default stands for parameters that the function does not have.
        task: that they mean.
        threats: that they mean.

    Raises:
        UsageError: an argument is not what it must be.
    """
    given = _UNASKED | dict(arguments)
    store, objective = given["store"], given["objective"]
    side = image_size(task, given["image_size"])
    if not isinstance(store, str | Path | None):
        raise UsageError(f"store must be the path of a file, found {said(store)}.")
    return Request(
        task=task,
        task_options=given["task_options"],
        chosen=choose(given["candidates"], side, given["lock"]),
        allow_pickle=given["allow_pickle"],
        threats=threats,
        image_size=side,
        preset=given["preset"],
        overrides=Overrides(
            text("attack", given["attack"]),
            whole_or_none("restarts", given["restarts"]),
            whole_or_none("steps", given["steps"]),
            whole_or_none("train_images", given["train_images"]),
            whole_or_none("test_images", given["test_images"]),
            text("head", given["head"]),
        ),
        device=text("device", given["device"]),
        seed=whole("seed", given["seed"], least=0),
        fresh=given["fresh"],
        goal=choose_goal(
            whole_or_none("top", given["top"]),
            None if given["confidence"] is None else number("confidence", given["confidence"]),
            seconds(given["budget"]),
        ),
        objective=choose_objective(objective and text("objective", objective), given["preset"]),
        began=time.monotonic(),
        leaders=_leaders(given["certify"], given["sigma"], threats, side),
        store=None if store is None else Path(store),
        engine=choose_engine(text("engine", given["engine"])),
        command=written_call(function, dict(arguments) | {"task": task}),
    )


def several_threats(given: Threat | list[Threat]) -> Threats:
    """The threats that an argument means, at least one.

    Raises:
        UsageError: it means none, or one twice.
    """
    each = [one_threat(one) for one in (given if isinstance(given, list) else [given])]
    found = tuple((one.norm, one.eps) for one in each)
    check_threats(found, "threat")
    return found


def _leaders(count: Any, sigma: Any, threats: Threats, side: int) -> Leaders | None:
    if count is None:
        if sigma is not None:
            raise UsageError("sigma is of certificates, which certify asks for: it is left out.")
        return None
    count = whole("certify", count, least=1)
    noise = None if sigma is None else number("sigma", sigma)
    return choose_leaders(count, noise, *threats[0], side)
