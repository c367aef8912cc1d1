"""`--engine ray`, on a real cluster of this machine whose workers are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from rich.console import Console
from test_memo import numbers, setting

import selector
from selector import engines
from selector.candidates import LockedFile, Pin, Pinned, builtin_zoo
from selector.cluster import spread as spreading
from selector.cluster.connection import Cluster
from selector.cluster.engine import Desk, RayEngine
from selector.cluster.needs import memory, sizes
from selector.cluster.office import Line
from selector.cluster.spread import Job, Needs, spread
from selector.cluster.work import MeasureOne, versions
from selector.engines import choose_engine
from selector.errors import UsageError
from selector.evaluation import evaluate
from selector.events import (
    Event,
    Fetched,
    FetchStarted,
    Finished,
    Passed,
    Recalled,
    Retried,
    Underway,
)
from selector.fetching import FetchRules
from selector.measuring import Measuring
from selector.records import Evaluation, Skipped
from selector.reports.progress import Display
from selector.run import PREFLIGHT_IMAGES, Prepared
from selector.scheduling import measure_all, measuring_classes
from selector.store import Store
from selector.workload import Setting

ZOO = {one.name: one for one in builtin_zoo()}
NAMES = ("tiny_resnet.cifar10_linf_8", "tiny_vit.cifar10_linf_8")
LIGHT = Needs(cpus=1, gpus=0, memory=0)
GIB = 2**30
PATIENCE = 30.0


def processes_of(session: str) -> set[int]:
    """Those that Ray started for a session, by the folder of it that they were told."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if session in (folder / "cmdline").read_text():
                found.add(int(folder.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two workers on this machine; nothing of them is left in the end."""
    with pytest.MonkeyPatch.context() as patch:
        # Else Ray writes one into the home folder.
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        patch.setenv("RAY_worker_niceness", "0")
        # Workers do not find this module, so they get what they need of it.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        options = {"num_cpus": 2, "num_gpus": 2, "_memory": 64 * GIB, "object_store_memory": 10**8}
        with Cluster("local", options).connected():
            session = ray._private.worker._global_node.session_name
            assert processes_of(session)
            yield
        assert not ray.is_initialized()
        until = time.monotonic() + PATIENCE
        while processes_of(session) and time.monotonic() < until:
            time.sleep(0.1)
        assert not processes_of(session)


# --- jobs ----------------------------------------------------------------------------------------


@dataclass
class Heard:
    """Hears everything, and answers with what it was asked.

    Attributes:
        values: of jobs that are done.
        deaths: of jobs whose worker died.
        gone: jobs that were given up.
        asked: every question.
        pause: seconds that an answer to ``slow`` takes.
    """

    values: dict[int, Any] = field(default_factory=dict)
    deaths: list[int] = field(default_factory=list)
    gone: dict[int, str] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    pause: float = 0.02

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def answer(self, method: str, arguments: Sequence[Any]) -> object:
        self.asked.append((method, tuple(arguments)))
        if method == "slow":
            time.sleep(self.pause)
        return method, tuple(arguments)

    def progress(self, job: int, totals: Mapping[str, int]) -> None:
        assert job not in self.values

    def done(self, job: int, value: Any, totals: Mapping[str, int]) -> None:
        assert job not in self.values
        self.values[job] = value, dict(totals)

    def still(self) -> None:
        pass

    def again(self, job: int, reason: str) -> None:
        self.deaths.append(job)

    def lost(self, job: int, reason: str) -> None:
        self.gone[job] = reason


def asks(what: int, line: Line) -> Any:
    """Ask twice, count, and say what was answered."""
    line.count(passed=2)
    line.count(passed=3)
    return line.ask("twice", what), line.ask("again", what, what)


def tells(what: int, line: Line) -> tuple[float, Any]:
    """Tell two things, ask one, tell one more; the seconds that telling first took."""
    began = time.monotonic()
    line.tell("slow", what)
    took = time.monotonic() - began
    line.tell("slow", what + 1)
    answer = line.ask("slow", what + 2)
    line.tell("slow", what + 3)
    return took, answer


def keeps_waiting_or_tells(what: str, line: Line) -> str:
    """Ask what takes its time; or meanwhile tell something, and be done."""
    if what == "ask":
        line.ask("slow", what)
    else:
        time.sleep(0.3)
        line.tell("last", what)
    return what


def dies(what: str, line: Line) -> str:
    """Of some jobs, the worker dies."""
    if what == "bad":
        os.kill(os.getpid(), signal.SIGKILL)
    return what


def closes_the_office(what: Path, line: Line) -> Any:
    """Kill the actor that passes letters on, once, and ask nevertheless."""
    if not what.exists():
        what.touch()
        ray.kill(line.office, no_restart=False)
    return line.ask("still there?")


def refuses(what: None, line: Line) -> None:
    raise UsageError("this cannot be.")


def breaks(what: None, line: Line) -> None:
    raise ModuleNotFoundError("No module named 'timm'")


def test_every_job_is_done_once_and_every_question_answered() -> None:
    heard = Heard()
    spread([Job(what, LIGHT) for what in range(7)], asks, heard, {})
    assert heard.values == {
        what: ((("twice", (what,)), ("again", (what, what))), {"passed": 5}) for what in range(7)
    }
    assert len(heard.asked) == 14


def test_who_tells_goes_on_and_is_heard_in_order() -> None:
    heard = Heard(pause=0.3)
    spread([Job(5, LIGHT)], tells, heard, {})
    ((took, answer), _) = heard.values[0]
    assert answer == ("slow", (7,))
    assert heard.asked == [("slow", (5 + n,)) for n in range(4)]
    assert took < heard.pause


def test_a_job_is_done_when_all_that_it_told_was_heard() -> None:
    class Careful(Heard):
        def done(self, job: int, value: Any, totals: Mapping[str, int]) -> None:
            assert value == "ask" or ("last", (value,)) in self.asked
            super().done(job, value, totals)

    heard = Careful(pause=1.0)
    spread([Job(what, LIGHT) for what in ("ask", "tell")], keeps_waiting_or_tells, heard, {})
    assert len(heard.values) == 2


def test_a_job_that_kills_its_workers_is_given_up_and_the_others_are_done(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spreading, "RETRIES", 1)
    heard = Heard()
    with Cluster().connected():
        spread([Job(what, LIGHT) for what in ("bad", "one", "two")], dies, heard, {})
        print("this is ours")
        time.sleep(1)  # what Ray prints comes from a thread of its own
    assert {value for value, _ in heard.values.values()} == {"one", "two"}
    assert heard.deaths == [0] and list(heard.gone) == [0]
    assert "died" in heard.gone[0]
    assert capfd.readouterr().out == "this is ours\n"


def test_an_office_that_dies_is_opened_again(tmp_path: Path) -> None:
    heard = Heard()
    spread([Job(tmp_path / "killed", LIGHT)], closes_the_office, heard, {})
    assert heard.values[0][0] == ("still there?", ())


@pytest.mark.parametrize(
    ("work", "said"), [(refuses, "this cannot be"), (breaks, "No module named 'timm'")]
)
def test_what_no_candidate_is_to_blame_for_ends_the_run(
    work: Callable[[None, Line], None], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        spread([Job(None, LIGHT)], work, Heard(), {})


def test_the_environment_is_set_before_the_work_is_read() -> None:
    heard = Heard()
    told = {"SELECTOR_TEST_OF_RAY": "yes"}
    spread([Job("SELECTOR_TEST_OF_RAY", LIGHT)], lambda what, line: os.environ[what], heard, told)
    assert heard.values[0][0] == "yes"


def its_gpu(what: int, line: Line) -> tuple[str | None, str, int]:
    """What Ray gave a job, while the other one is under way."""
    (own,) = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    time.sleep(1.0)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = "7,1,0"
    found = spreading.device_index()
    os.environ.pop("CUDA_VISIBLE_DEVICES")
    assert spreading.device_index() == int(own)
    return before, own, found


def test_each_job_is_told_its_own_gpu_of_all_that_its_worker_sees() -> None:
    heard = Heard()
    spread([Job(what, replace(LIGHT, gpus=1)) for what in range(4)], its_gpu, heard, {})
    found = [value for value, _ in heard.values.values()]
    assert {own for _, own, _ in found} == {"0", "1"}
    # Ray leaves the variable alone, and a place among those that it names is a place in it.
    assert {before for before, *_ in found} == {os.environ.get("CUDA_VISIBLE_DEVICES")}
    assert {(own, index) for _, own, index in found} == {("0", 2), ("1", 1)}


def test_a_job_that_asks_keeps_its_cpu() -> None:
    heard = Heard()
    spread([Job(what, LIGHT) for what in range(12)], asks_for_long, heard, {})
    assert max(value for value, _ in heard.values.values()) <= 2


def asks_for_long(what: int, line: Line) -> int:
    """How many run at once, by files that say so."""
    folder = Path(tempfile.gettempdir()) / f"selector-{os.getppid()}"
    folder.mkdir(exist_ok=True)
    mine = folder / str(what)
    mine.touch()
    most = 0
    for _ in range(20):
        line.ask("slow")
        most = max(most, len(list(folder.iterdir())))
    mine.unlink()
    return most


# --- candidates ----------------------------------------------------------------------------------


def rank(engine: str, store: Path) -> dict[str, Any]:
    """The document of a ranking, without times, peaks, and what was typed."""
    ranking = selector.rank(
        task="builtin:digits",
        candidates=[ZOO[name] for name in NAMES],
        threat=("linf", "8/255"),
        image_size=32,
        preset="quick",
        restarts=2,
        steps=4,
        train_images=30,
        test_images=20,
        device="cpu",
        engine=engine,
        store=store,
    )
    text = ranking.model_dump_json(exclude={"created", "command"})
    return dict(json.loads(re.sub(r'"(seconds|peak)_\w+":[^,}]+', '"x":0', text)))


def rows(path: Path, table: str, columns: str) -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute(f"SELECT {columns} FROM {table}"))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A store and a ranking of the local engine."""
    path = tmp_path_factory.mktemp("here") / "store.sqlite"
    return path, rank("local", path)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A store and a ranking by Ray."""
    path = tmp_path_factory.mktemp("there") / "store.sqlite"
    return path, rank("ray", path)


def test_the_document_is_that_of_the_local_engine(
    here: tuple[Path, dict[str, Any]], there: tuple[Path, dict[str, Any]]
) -> None:
    assert len(here[1]["ranking"]) == 2
    assert there[1] == here[1]


@pytest.mark.parametrize("table", ["measurements", "parts"])
def test_keys_are_those_of_the_local_engine(
    table: str, here: tuple[Path, dict[str, Any]], there: tuple[Path, dict[str, Any]]
) -> None:
    keys = rows(here[0], table, "key")
    assert keys
    assert rows(there[0], table, "key") == keys


def test_each_engine_takes_over_what_the_other_has_measured(
    here: tuple[Path, dict[str, Any]], there: tuple[Path, dict[str, Any]]
) -> None:
    candidates, how = [Pinned(ZOO[name]) for name in NAMES], measuring_classes(setting())
    for path, engine in ((here[0], RayEngine().measure_all), (there[0], measure_all)):
        before = rows(path, "parts", "rowid, key, seconds")
        heard: list[Event] = []
        engine(candidates, how, path, FetchRules(), heard.append)
        done = [event for event in heard if isinstance(event, Finished)]
        assert [one.reused for one in done] == [True, True]
        assert not [event for event in heard if isinstance(event, Passed)]
        assert rows(path, "parts", "rowid, key, seconds") == before


def test_a_worker_asks_once_what_there_is_and_only_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answer = Desk.answer

    def listen(desk: Desk, method: str, arguments: Sequence[Any]) -> object:
        asked.append(method)
        return answer(desk, method, arguments)

    monkeypatch.setattr(Desk, "answer", listen)
    path = tmp_path / "store.sqlite"
    measure = (RayEngine(), [Pinned(ZOO[NAMES[0]])], measuring_classes(setting()), path)
    measured(*measure)
    parts = len(rows(path, "parts", "key"))
    assert parts > 4
    # What it has kept itself may be of use to it again.
    again = asked.count("get_part")
    assert again < parts / 4
    once = {"get": 1, "part_keys": 1, "put": 1}
    assert Counter(asked) == Counter(once) + Counter(put_part=parts, get_part=again)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM measurements")
    asked.clear()
    measured(*measure)
    assert Counter(asked) == Counter(once) + Counter(get_part=parts + again)


def measured(
    engine: RayEngine, candidates: Sequence[Pinned], how: Measuring, path: Path
) -> Sequence[Event]:
    """What was told of it."""
    heard: list[Event] = []
    engine.measure_all(candidates, how, path, FetchRules(), heard.append)
    return heard


@dataclass(frozen=True)
class Announced:
    """The usual measurement, whose worker says where it is; the first takes its time."""

    pids: Path

    def __call__(
        self, prepared: Prepared, setting: Setting, on_pass: Callable[[int], None]
    ) -> Evaluation:
        with self.pids.open("a") as file:
            file.write(f"{os.getpid()}\n")

        def slowly(images: int) -> None:
            on_pass(images)
            time.sleep(0.05)

        alone = len(self.pids.read_text().split()) == 1
        return evaluate(prepared, setting, slowly if alone else on_pass)


def test_a_worker_that_is_killed_loses_only_what_it_was_at(
    here: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    path, pids = tmp_path / "store.sqlite", tmp_path / "pids"
    heard: list[Event] = []
    before: set[tuple[Any, ...]] = set()

    def emit(event: Event) -> None:
        heard.append(event)
        parts = rows(path, "parts", "rowid, key, seconds, sha256")
        if len(parts) >= 4 and not before:
            os.kill(int(pids.read_text()), signal.SIGKILL)
            before.update(rows(path, "parts", "rowid, key, seconds, sha256"))

    how = Measuring(setting(), Announced(pids), Evaluation)
    engine = RayEngine()
    engine.measure_all([Pinned(ZOO[NAMES[0]])], how, path, FetchRules(), emit)
    assert len(pids.read_text().split()) == 2
    assert [type(one) for one in heard if isinstance(one, Retried | Finished)] == [
        Retried,
        Finished,
    ]
    # What the first worker found is what the second went on from: not one row was written again.
    after = rows(path, "parts", "rowid, key, seconds, sha256")
    assert before < after
    known = rows(here[0], "parts", "key")
    assert {row[1:2] for row in after} <= known
    (done,) = (one for one in heard if isinstance(one, Finished))
    assert isinstance(done.outcome, Evaluation) and not done.reused
    measured: list[Event] = []
    plain = measuring_classes(setting())
    measure_all([Pinned(ZOO[NAMES[0]])], plain, here[0], FetchRules(), measured.append)
    (usual,) = (one for one in measured if isinstance(one, Finished))
    assert isinstance(usual.outcome, Evaluation)
    assert numbers(done.outcome) == numbers(usual.outcome)
    assert len(rows(path, "measurements", "key")) == 1
    # Told once, whoever made them; six batches come before anything is told.
    passed = sum(event.images for event in heard if isinstance(event, Passed))
    assert passed + 6 * PREFLIGHT_IMAGES == done.outcome.cost.forward_passes
    assert engine.describe(torch.device("cpu")) == done.outcome.cost.device


def test_a_node_with_other_versions_ends_the_run(tmp_path: Path) -> None:
    how, other = measuring_classes(setting()), versions() | {"timm": "0.1"}
    work = MeasureOne(how, FetchRules(), 1, str(tmp_path), other)
    with pytest.raises(UsageError, match=r"must be .*timm 0\.1, found one with .*timm 1"):
        spread([Job(Pinned(ZOO[NAMES[0]]), LIGHT)], work, Heard(), {})


# --- what is told --------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[Desk, list[Event]]]:
    heard: list[Event] = []
    with closing(Store(tmp_path / "store.sqlite")) as store:
        yield Desk([ZOO[name] for name in NAMES], store, heard.append), heard


def test_reports_become_events(desk: tuple[Desk, list[Event]]) -> None:
    at, heard = desk
    at.progress(1, {})
    at.progress(0, {"to_fetch": 9, "fetched": 4})
    at.progress(0, {"to_fetch": 9, "fetched": 9, "passed": 7, "recalled": 5})
    # Its worker died: the next begins at nothing.
    at.again(0, "gone")
    at.progress(0, {"to_fetch": 9, "fetched": 1, "passed": 2})
    row = Skipped(name=NAMES[0], model="m", code="c", reason="r", hint="h", retryable=False)
    finished = Finished(row, reused=False)
    at.done(0, (finished, at_device()), {"passed": 11, "recalled": 6})
    assert heard == [
        Underway(NAMES[1:]),
        Underway(NAMES[::-1]),
        FetchStarted(9),
        Fetched(4),
        Fetched(5),
        Passed(7),
        Retried(NAMES[0], "gone"),
        Passed(4),
        Recalled(6),
        finished,
        Underway(NAMES[1:]),
    ]


def at_device() -> Any:
    return RayEngine().describe(torch.device("cpu"))


def test_a_candidate_that_kills_its_workers_is_a_row(desk: tuple[Desk, list[Event]]) -> None:
    at, heard = desk
    at.lost(0, "out of memory")
    (finished,) = (event for event in heard if isinstance(event, Finished))
    assert isinstance(finished.outcome, Skipped)
    assert (finished.outcome.code, finished.outcome.retryable) == ("worker_died", True)
    assert finished.outcome.reason == (
        "4 workers died while they measured it, the last so: out of memory"
    )


def test_several_at_once_are_shown_as_several() -> None:
    console = Console(record=True, width=200, force_terminal=True)
    display = Display(console, 3, 10)
    with display:
        display.follow([Underway(("one", "two", "three")), Passed(4), Retried("two", "it died")])
        bar = display._progress.tasks[display._bar]
        assert (bar.description, bar.completed) == ("all; one and 2 more under way", 4)
        assert not display._progress.tasks[display._one].visible
    assert "two: it died; begun again" in console.export_text()


# --- what is needed ------------------------------------------------------------------------------


def test_needs_are_worked_out_from_what_is_known(tmp_path: Path) -> None:
    candidate = ZOO[NAMES[0]]
    files = [candidate.directory / name for name in candidate.files]
    lost = candidate.model_copy(update={"model": f"local-dir:{tmp_path}"})
    locked = LockedFile(name="model.safetensors", size=123, sha256="0" * 64)
    pin = Pin(model=candidate.model, commit=None, files=(locked,))
    asked = [Pinned(candidate), Pinned(lost), Pinned(candidate, pin)]
    assert sizes(asked, FetchRules()) == [sum(one.stat().st_size for one in files), 0, 123]
    # 1.2 GB and three times the files; on a CPU 32 images of 224 px at 2 kB per pixel, and as
    # much again per GB of weights.
    batch = 32 * 224**2 * 2000
    assert candidate.checkpoint is None
    for size in (0, 10**9, 4 * 10**9):
        assert memory(candidate, size, torch.device("cuda")) == whole(1.2e9 + 3 * size)
        expected = whole(1.2e9 + 3 * size + batch * (1 + size / 1e9))
        assert memory(candidate, size, torch.device("cpu")) == expected


def whole(total: float) -> int:
    return -int(-total // GIB) * GIB


def test_who_was_out_of_memory_gets_twice_as_much_as_far_as_there_is() -> None:
    needs = Needs(1, 0, 3 * GIB)
    assert needs.larger(10 * GIB) == replace(needs, memory=6 * GIB)
    assert needs.larger(4 * GIB) == replace(needs, memory=4 * GIB)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rays", "http://a:1", "host", "ray://host", "a b:1", "host:port"])
def test_other_engines_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"--engine must be local, ray, HOST:PORT or ray://"):
        choose_engine(name)


@pytest.mark.parametrize("name", ["ray", "10.0.0.1:6379", "ray://head.example:10001", "[::1]:6379"])
def test_ray_is_an_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_engine(name), RayEngine)
    monkeypatch.setattr(engines, "find_spec", lambda module: None)
    with pytest.raises(UsageError, match="needs Ray, which is not installed") as caught:
        choose_engine(name)
    assert caught.value.hint == 'pip install "selector[ray]" brings it.'


@pytest.mark.parametrize("device", ["cuda:1", "cuda:0", "mps"])
def test_which_device_is_for_ray_to_say(device: str) -> None:
    with pytest.raises(UsageError, match=r"--device must be auto, cpu or cuda with --engine ray"):
        RayEngine().choose_device(device)


def test_the_device_is_one_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    far = RayEngine("127.0.0.1:6379")  # connected already
    assert far.choose_device("auto") == far.choose_device("cuda") == torch.device("cuda")
    assert far.choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    assert far.choose_device("auto") == torch.device("cpu")
    with pytest.raises(UsageError, match="needs a cluster with GPUs, found none"):
        far.choose_device("cuda")


def test_a_race_runs_on_one_device() -> None:
    with pytest.raises(UsageError, match="engine local: a race runs on one device"):
        selector.rank(
            task="builtin:digits",
            candidates=[ZOO[name] for name in NAMES],
            threat=("linf", "8/255"),
            top=1,
            engine="ray",
        )


def test_more_threads_than_any_node_has_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with pytest.raises(UsageError, match=r"node with 3 CPUs.*found at most 2"):
        RayEngine().measure_all(
            [Pinned(ZOO[NAMES[0]])],
            measuring_classes(setting()),
            tmp_path / "store.sqlite",
            FetchRules(),
            Counter().update,
        )
