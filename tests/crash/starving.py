"""No room on a disk, no right to write, no memory: injected for real, by the system itself."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crash.bench import Bench, Outcome
from crash.disk import small_disk
from crash.evidence import read_output, read_store
from crash.place import CANDIDATES, ZOO, Place, Running

_SAME = "afterwards the same command gives the same ranking"
_CGROUP = Path("/sys/fs/cgroup")
# More bytes of data than the libraries take: enough for the small candidates, not for the hungry.
_SPARE = 300 * 2**20
_HUNGRY_SIDE = 2048


def full_disk(bench: Bench, count: int, seed: int) -> Iterator[Outcome]:
    """Every place that is written to, on a disk that is too small."""
    yield _full_store(bench)
    yield _full_at_once(bench)
    yield _full_cache(bench)
    yield _full_output(bench)
    yield _full_stdout(bench)


def _full_store(bench: Bench) -> Outcome:
    place = bench.place()
    with small_disk(place.folder, "cache", "64k") as disk:
        place.wrapper = disk.wrapper
        bench.expect(place.run(), 0, "is measured but not kept for later runs")
        bench.expect_same(place)
        kept = len(read_store(disk.seen / place.store.name).names)
        disk.resize("50m")
        again = place.run()
        bench.expect(again, 0)
        if again.stderr.count("kept from an earlier run") != kept:
            bench.wrong.append(f"{kept} were kept: {again.stderr[-300:]}")
        if (sound := read_store(disk.seen / place.store.name)).sound != "ok":
            bench.wrong.append(f"the store is damaged: {sound.sound}")
        bench.expect_same(place)
    came = f"exit code 0, a warning for each that is not kept, {kept} of {len(CANDIDATES)} kept"
    return bench.outcome("full-disk", "the store, on a disk of 64 kB", f"{came}; {_SAME}")


def _full_at_once(bench: Bench) -> Outcome:
    place = bench.place()
    with small_disk(place.folder, "cache", "4k") as disk:
        place.wrapper = disk.wrapper
        ended = place.run()
        bench.expect(ended, 2, "SELECTOR_CACHE", "disk")
        if ended.passes():
            bench.wrong.append("measured before it looked at the store")
        disk.resize("50m")
        bench.expect(place.run(), 0)
        bench.expect_same(place)
    came = f"exit code 2 before anything is measured, naming the file; {_SAME}"
    return bench.outcome("full-disk", "the store, on a disk that cannot even take its tables", came)


def _full_cache(bench: Bench) -> Outcome:
    place = bench.place()
    with small_disk(place.folder, "hf", "600k") as disk:
        place.wrapper = disk.wrapper
        ended = place.run()
        bench.expect(ended, 3, "disk_full", "HF_HUB_CACHE")
        rows = _skipped(place)
        disk.resize("50m")
        bench.expect(place.run(), 0)
        bench.expect_same(place)
        left = [one.name for one in disk.seen.rglob("*.incomplete")]
        bench.wrong += [f"left behind: {one}" for one in left]
    came = f"exit code 3, {rows}, the others are ranked; {_SAME}"
    return bench.outcome("full-disk", "the Hub cache, with room for one candidate", came)


def _full_output(bench: Bench) -> Outcome:
    place = bench.place()
    with small_disk(place.folder, "out", "8k") as disk:
        place.wrapper = disk.wrapper
        bench.expect(place.run(), 74, "could not be written", "No space left")
        bench.wrong += [f"left behind: {one.name}" for one in disk.seen.iterdir()]
        disk.resize("50m")
        again = place.run()
        bench.expect(again, 0)
        if again.passes():
            bench.wrong.append("what was measured was measured again")
        if read_output(disk.seen / place.output.name) != bench.reference.document:
            bench.wrong.append("another ranking than undisturbed")
        bench.expect_clean(place)
    came = f"exit code 74, nothing half written; {_SAME}, without a pass"
    return bench.outcome("full-disk", "the folder of `-o`, with room for a part", came)


def _full_stdout(bench: Bench) -> Outcome:
    place = bench.place()
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        bench.expect(place.run(stdout=full), 74, "stdout could not be written")
    finally:
        os.close(full)
    bench.expect_same(place)
    return bench.outcome("full-disk", "stdout, into `/dev/full`", "exit code 74; `-o` is whole")


def read_only(bench: Bench, count: int, seed: int) -> Iterator[Outcome]:
    """Every place that is written to, on a disk that cannot be written."""
    for name, said in (("cache", "SELECTOR_CACHE"), ("out", "--output")):
        place = bench.place()
        with small_disk(place.folder, name, "50m") as disk:
            place.wrapper = disk.wrapper
            disk.read_only()
            ended = place.run()
            bench.expect(ended, 2, said, "ead-only" if name == "out" else "cache")
            if ended.passes():
                bench.wrong.append("measured before it looked")
            disk.read_only(False)
            bench.expect(place.run(), 0)
            if name == "cache":
                bench.expect_same(place)
        where = "the store" if name == "cache" else "the folder of `-o`"
        came = f"exit code 2 before anything is measured, naming it; {_SAME}"
        yield bench.outcome("read-only", where, came)
    place = bench.place()
    with small_disk(place.folder, "hf", "50m") as disk:
        place.wrapper = disk.wrapper
        disk.read_only()
        bench.expect(place.run(), 1, "cache_unusable", "Read-only")
        disk.read_only(False)
        bench.expect(place.run(), 0)
        bench.expect_same(place)
        yield bench.outcome(
            "read-only", "an empty Hub cache", f"exit code 1, rows `cache_unusable`; {_SAME}"
        )
        disk.read_only()
        for one in place.store.parent.iterdir():
            one.unlink()
        bench.expect(place.run(), 0)
        bench.expect_same(place)
        yield bench.outcome("read-only", "a Hub cache with all candidates", "the same ranking")


def memory(bench: Bench, count: int, seed: int) -> Iterator[Outcome]:
    """A limit that one candidate does not fit into, and the kernel's own killer."""
    yield _limited(bench)
    yield _killed(bench)


def _limited(bench: Bench) -> Outcome:
    content = {path.name: path.read_bytes() for path in (ZOO / CANDIDATES[-1]).iterdir()}
    bench.hub.add("acme/hungry", content | {"config.json": _enlarged(content["config.json"])})
    place = bench.place()
    hungry = ("--model", "acme/hungry")
    begun = place.run(lambda running: _stop_at(running, "imported"), hungry)
    (imported,) = [one for one in begun.events if one["event"] == "imported"]
    limit = imported["data"] + _SPARE

    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    ended = place.run(arguments=hungry, prepare=narrow)
    bench.expect(ended, 3, "out_of_memory")
    if _ranking(place) != bench.reference.document["ranking"]:
        bench.wrong.append("the others are not ranked as undisturbed")
    bench.expect(place.run(), 0)
    bench.expect_same(place)
    return bench.outcome(
        "memory",
        f"RLIMIT_DATA, and a fourth candidate that takes images of {_HUNGRY_SIDE} px",
        "exit code 3, a row `out_of_memory`; the others are measured and ranked as without it",
    )


def _enlarged(config: bytes) -> bytes:
    document = json.loads(config)
    document["pretrained_cfg"]["input_size"] = [3, _HUNGRY_SIDE, _HUNGRY_SIDE]
    return json.dumps(document).encode()


def _stop_at(running: Running, event: str) -> None:
    running.wait_for(event)
    running.process.kill()


def _killed(bench: Bench) -> Outcome:
    place = bench.place()
    with _group() as group:

        def join() -> None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

        ended = place.run(lambda running: _narrow_after(running, group), prepare=join)
    if ended.code != -9:
        bench.wrong.append(f"exit code {ended.code}, not killed: {ended.stderr[-300:]}")
    before = read_store(place.store)
    if before.sound != "ok" or not before.rows:
        bench.wrong.append(f"the store after it: {before}")
    again = place.run()
    bench.expect(again, 0)
    if again.stderr.count("kept from an earlier run") != len(before.names):
        bench.wrong.append(f"{sorted(before.names)} were kept: {again.stderr[-300:]}")
    bench.expect_same(place)
    came = f"killed by the kernel; the {len(before.rows)} rows of the store are sound; {_SAME}"
    return bench.outcome("memory", "a memory cgroup, narrowed after the third write", came)


@contextmanager
def _group() -> Iterator[Path]:
    """A memory cgroup of either version; needs the right to make one."""
    base = _CGROUP / "memory" if (_CGROUP / "memory").is_dir() else _CGROUP
    group = base / f"selector-crash-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        group.rmdir()


def _narrow_after(running: Running, group: Path) -> None:
    """Once something is kept, leave the run less than it has."""
    running.wait_for("store-", 3)
    limit = group / "memory.max"
    if limit.exists():
        limit.write_text("1048576")
        return
    while running.process.poll() is None:
        used = int((group / "memory.usage_in_bytes").read_text())
        try:
            (group / "memory.limit_in_bytes").write_text(str(used - 2**20))
        except OSError:  # busy: the kernel could not take so much away
            (group / "memory.limit_in_bytes").write_text(str(used + 2**20))
            return


def _ranking(place: Place) -> Any:
    document = read_output(place.output)
    return document and document["ranking"]


def _skipped(place: Place) -> str:
    document = read_output(place.output)
    codes = sorted({row["code"] for row in document["skipped"]}) if document else []
    return f"rows {', '.join(f'`{one}`' for one in codes)}"


STARVING = {"full-disk": full_disk, "read-only": read_only, "memory": memory}
