"""A run that is hit again and again: what ``make check-crash`` does a hundred times, in short."""

from __future__ import annotations

import signal
from pathlib import Path

from crash.evidence import read_store
from crash.kills import Moment, completed, left, strike_at, undisturbed, unrepeated
from crash.place import Place, fill, warmed
from fakehub import fixtures
from fakehub.server import FakeHub

fake_hub = fixtures.fake_hub

# What is sent, how many seconds after which event.
HITS = (
    (signal.SIGKILL, Moment("fetch+", 1, 0.2)),
    (signal.SIGKILL, Moment("pass", 20, 0.0)),
    (signal.SIGKILL, Moment("store+", 3, 0.002)),
    (signal.SIGINT, Moment("pass", 20, 0.0)),
    (signal.SIGTERM, Moment("ready", 1, 0.5)),
)


def test_a_run_that_is_hit_in_every_phase_continues_to_the_same_ranking(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    fill(fake_hub)
    reference = undisturbed(Place(tmp_path / "undisturbed", fake_hub, start=warmed))
    assert [entry["name"] for entry in reference.document["ranking"]]
    place, fell = Place(tmp_path / "hit", fake_hub, start=warmed), []
    for number, moment in HITS:
        before = read_store(place.store)
        hit = strike_at(place, moment, moment.longest, number)
        fell.append(hit.fell)
        assert not list(left(place, hit, number, reference))
        assert not list(unrepeated(place, hit.ended, before, reference))
    assert (fell[0], fell[4]) == ("fetching", "starting")
    # A commit takes milliseconds: a kill may come when it is over, or has just begun.
    assert set(fell[1:4]) <= {"storing", "measuring"}
    before = read_store(place.store)
    again = place.run()
    assert not list(unrepeated(place, again, before, reference))
    assert not list(completed(place, again, before, reference))
