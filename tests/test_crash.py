"""A run that is hit again and again: what ``make check-crash`` does a hundred times, in short."""

from __future__ import annotations

import signal
from pathlib import Path

from crash.kills import Moment, completed, left, strike_at, undisturbed, unrepeated
from crash.place import Place, fill, read_store
from fakehub import fixtures
from fakehub.server import FakeHub

fake_hub = fixtures.fake_hub

# What is sent, how many seconds after which event, and the phase in which that falls.
HITS = (
    (signal.SIGKILL, Moment("fetch+", 1, 0.2), "fetching"),
    (signal.SIGKILL, Moment("pass", 5, 0.0), "measuring"),
    (signal.SIGKILL, Moment("store+", 1, 0.002), "storing"),
    (signal.SIGINT, Moment("pass", 3, 0.0), "measuring"),
    (signal.SIGTERM, Moment("pass", 3, 0.0), "measuring"),
)


def test_a_run_that_is_hit_in_every_phase_continues_to_the_same_ranking(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    fill(fake_hub)
    reference = undisturbed(Place(tmp_path / "undisturbed", fake_hub))
    assert [entry["name"] for entry in reference.document["ranking"]]
    place, fell = Place(tmp_path / "hit", fake_hub), []
    for number, moment, _ in HITS:
        before = read_store(place.store)
        hit = strike_at(place, moment, moment.longest, number)
        fell.append(hit.fell)
        assert not list(left(place, hit, number, reference))
        assert not list(unrepeated(place, hit.ended, before, reference))
    # A commit takes milliseconds: the kill may come when it is over.
    assert fell[2] in ("storing", "measuring")
    assert fell[:2] + fell[3:] == ["fetching", "measuring", "measuring", "measuring"]
    before = read_store(place.store)
    again = place.run()
    assert not list(unrepeated(place, again, before, reference))
    assert not list(completed(place, again, before, reference))
