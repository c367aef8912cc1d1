"""Work in a thread of its own, and what it tells."""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from threadpoolctl import threadpool_info

_T = TypeVar("_T")
# Of OpenMP's omp_pause_resource_t: what is given up comes back when it is needed.
_SOFT = 1
_SPINS = "GOMP_SPINCOUNT"


class Abandoned(BaseException):
    """Nobody waits for the work any more; no failure of a candidate, nor of anything else."""


def in_background(
    work: Callable[[Callable[[_T], None]], None], farewell: float = 0.0
) -> Generator[_T]:
    """Run ``work(emit)`` in a thread of its own and yield what it emits.

    The main thread then only waits, so Ctrl-C takes effect at once and not after the native call
    that happens to be running. When this is closed before its end, the work ends with what it
    emits next, and is waited for so many seconds as ``farewell`` says.
    """
    _dismiss_helpers()
    items: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    left = threading.Event()

    def emit(item: _T) -> None:
        if left.is_set():
            raise Abandoned
        items.put((True, item))

    def run() -> None:
        try:
            work(emit)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            items.put((False, error))
        else:
            items.put((False, None))

    thread = threading.Thread(target=run, name="measure", daemon=True)
    thread.start()
    try:
        while True:
            more, item = items.get()
            if more:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        left.set()
        thread.join(farewell)


def spin_briefly() -> None:
    """Let helpers of OpenMP wait awake for a fraction of a millisecond, and then asleep.

    GNU's library reads this when it is loaded, so it counts if torch is not there yet. By default
    they spin for milliseconds: where another process takes the processor that the other half of the
    work needs, a ranking took over 20 times as long; like this, thrice. A value that the user has
    set stays.
    """
    os.environ.setdefault(_SPINS, "10000")


def _dismiss_helpers() -> None:
    """End the threads of OpenMP that wait for more work of this thread; new ones come with that.

    Each thread that computes has helpers of its own. Where all together are more than there are
    processors, GNU's library has them sleep between loops, which are over before they are awake: a
    pass of a small network took a quarter longer. Not where nothing limits how long they spin.
    """
    if _SPINS not in os.environ:
        return
    for found in threadpool_info():
        if found["prefix"] == "libgomp":
            pause = getattr(ctypes.CDLL(found["filepath"]), "omp_pause_resource_all", None)
            if pause is not None:
                pause(_SOFT)
