"""Bad input ends with a documented error, in time, within memory, and writes nothing elsewhere.

A few hundred cases of each target of ``make fuzz``, and what would be found if it happened.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from fuzz import guard
from fuzz.guard import Broken, Guard, Sandbox
from fuzz.mutation import Pairs, change, in_json, in_safetensors, tree, written
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selector.errors import UsageError

CASES = 200
FEWER = dict.fromkeys(("config", "ranking", "document", "readme", "parquet", "registry"), 100)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Folders of one target, and everything that looks for a place told to stay in them."""
    found = Sandbox(tmp_path / "sandbox")
    found.make()
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(found.elsewhere)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", found.kept / "datasets")
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_bad_input_is_refused_in_words(name: str, sandbox: Sandbox) -> None:
    target, watch = TARGETS[name], Guard(sandbox)
    seeds, path = target.seeds(), sandbox.given / TARGETS[name].file
    target.beside(sandbox.given)

    @settings(max_examples=FEWER.get(name, CASES), suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(seeds) - 1), st.integers(0, 2**32 - 1), st.integers(1, 4))
    def run(which: int, seed: int, rounds: int) -> None:
        case, rng = seeds[which], Random(seed)
        for _ in range(rounds):
            case = target.mutate(case, rng)
        path.write_bytes(case)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            watch.run(lambda: target.act(path), target.documented)

    run()
    assert watch.tally.cases >= 100
    # Mutations that break everything, or nothing, would test little.
    assert 0 < watch.tally.refused < watch.tally.cases or name == "image"


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_made_wrong_was_right(name: str, sandbox: Sandbox) -> None:
    target = TARGETS[name]
    target.beside(sandbox.given)
    path = sandbox.given / target.file
    path.write_bytes(target.seeds()[0])
    target.act(path)


# --- what would be found -------------------------------------------------------------------------


def _holds_memory() -> None:
    bytearray(2**26)[::4096] = b"\1" * (2**26 // 4096)


def _speaks_long() -> None:
    error = UsageError("a")
    # As an error would that does not cut what it says.
    error.message = "a" * 5000
    raise error


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "an error that nobody has documented": (lambda: {}["a"], "KeyError at"),
    "a file in the current folder": (lambda: Path("a").write_text("b"), "wrote elsewhere"),
    "a file in the home folder": (lambda: Path("~/a").expanduser().mkdir(), "wrote elsewhere"),
    "a program": (lambda: subprocess.run([sys.executable, "-c", ""], check=True), "ran a program"),
    "a temporary file that stays": (lambda: tempfile.mkstemp(), "left a file"),
    "memory": (_holds_memory, "of memory"),
    "a long error": (_speaks_long, "error of 5000 characters"),
    "an error that a terminal obeys": (lambda: _refuse("\x1b[31m"), "control characters"),
}


def _refuse(message: str) -> None:
    raise UsageError(message)


@pytest.mark.parametrize("what", WRONG)
def test_what_no_case_may_do_is_found(
    what: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, said = WRONG[what]
    monkeypatch.setattr(guard, "MEMORY", 2**23)
    with pytest.raises(Broken, match=re.escape(said)):
        Guard(sandbox).run(act, (UsageError,))


def test_an_input_that_is_changed_is_found(sandbox: Sandbox) -> None:
    path = sandbox.given / "a"
    path.write_text("a")
    with pytest.raises(Broken, match=r"wrote elsewhere|changed its input"):
        Guard(sandbox).run(lambda: path.write_text("bc"), (UsageError,))


def test_a_case_that_takes_long_is_found(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.05)
    with pytest.raises(Broken, match=r"more than 0\.05 seconds"):
        Guard(sandbox).run(lambda: sum(range(10**7)), (UsageError,))


def test_what_a_case_may_do_is_no_offence(sandbox: Sandbox) -> None:
    watch = Guard(sandbox)
    watch.run(lambda: (sandbox.kept / "a").write_text("b"), (UsageError,))
    watch.run(lambda: _refuse("what was required"), (UsageError,))
    assert (watch.tally.cases, watch.tally.refused) == (2, 1)


# --- how input becomes wrong ---------------------------------------------------------------------


def test_keys_can_be_given_twice() -> None:
    assert written(Pairs([("a", 1), ("a", [True, None])])) == '{"a": 1, "a": [true, null]}'


def test_a_changed_tree_can_always_be_written() -> None:
    rng = Random(0)
    texts = set()
    for _ in range(300):
        root = tree({"a": [1, 2.5, {"b": "c"}], "d": None})
        for _ in range(3):
            root = change(root, rng)
        texts.add(written(root))
    assert len(texts) > 250


def test_the_same_seed_makes_the_same_case() -> None:
    case = TARGETS["safetensors"].seeds()[0]
    assert in_json(b'{"a": [1, 2]}', Random(3)) == in_json(b'{"a": [1, 2]}', Random(3))
    assert in_safetensors(case, Random(3)) == in_safetensors(case, Random(3)) != case
