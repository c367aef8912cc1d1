"""The heads of a small network: which images they are fitted on, and which is recommended."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from selector import fitting
from selector.batches import Images, extract
from selector.candidates import Candidate, Pinned
from selector.choosing import RADIUS_SCALES, ChosenHead, Heads, choose_path, choose_probe
from selector.fetching import prepare
from selector.fitting import find_probe, fit
from selector.heads import Labelled, LinearHead, task_projection
from selector.protocol import Protocol, Sizes
from selector.run import Run, load
from selector.sensitivity import Pool
from selector.tasks import load_task
from selector.threat import ThreatModel
from selector.workload import Setting

ZOO = Path(str(files("selector.demo") / "zoo"))
SIZES = Sizes(train=60, validation=30, test=10)


@pytest.fixture(scope="module")
def setting() -> Setting:
    task = load_task("builtin:digits", image_size=32, sizes=SIZES, seed=0)
    protocol = Protocol("quick", "apgd", restarts=1, steps=4, sizes=SIZES, seed=0)
    return Setting(task, ThreatModel("linf", 4 / 255), protocol, torch.device("cpu"))


def loaded(setting: Setting) -> Run:
    one = Candidate(model=f"local-dir:{ZOO / 'tiny_vit.cifar10_linf_4'}")
    return load(prepare(Pinned(one), None, lambda count: None), setting)


class Watched:
    """A fit, with what it handed to those who choose.

    Attributes:
        heads: what came of it.
        given: training and validation images that the path was chosen on.
        path: what was chosen.
        judged: each head that was judged, with the pools that this rests on and the verdict.
    """

    def __init__(self, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[Labelled] = []
        self.judged: list[tuple[ChosenHead, list[Any], tuple[float, float]]] = []
        kept = fitting._kept

        def choose(fit: Labelled, validation: Labelled, *more: Any) -> Any:
            self.given += [fit, validation]
            self.path = choose_path(fit, validation, *more)
            return self.path

        def judge(chosen: ChosenHead, parts: list[Any]) -> tuple[float, float]:
            self.judged.append((chosen, parts, kept(chosen, parts)))
            return self.judged[-1][2]

        monkeypatch.setattr(fitting, "choose_path", choose)
        monkeypatch.setattr(fitting, "_kept", judge)
        self.run = loaded(setting)
        self.heads: Heads = fit(self.run, find_probe(self.run)).heads


@pytest.fixture(scope="module")
def watched(setting: Setting) -> Watched:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return Watched(setting, monkeypatch)


def test_the_frontier_starts_with_the_usual_probe(watched: Watched, setting: Setting) -> None:
    heads, run = watched.heads, loaded(setting)
    train, validation = map(run.clean, (setting.task.train, setting.task.validation))
    probe = choose_probe(train, validation, 10)
    assert heads.probe.l2 == probe.l2
    torch.testing.assert_close(heads.probe.head.weight, probe.head.weight, rtol=1e-4, atol=1e-5)
    assert tuple(one.radius_scale for one in heads.frontier) == RADIUS_SCALES
    torch.testing.assert_close(heads.projection, task_projection(heads.probe.head))


def test_all_other_heads_see_the_task_alone(watched: Watched) -> None:
    inside = watched.heads.projection.T @ watched.heads.projection
    for one in (*watched.heads.frontier, watched.heads.bound_optimal):
        centred = one.head.weight - one.head.weight.mean(dim=0)
        torch.testing.assert_close(centred @ inside, centred, rtol=1e-6, atol=1e-6)


def test_a_head_that_is_both_is_one_and_attacked_once(watched: Watched) -> None:
    heads = watched.heads
    same = [torch.equal(one.head.weight, heads.bound_optimal.head.weight) for one in heads.frontier]
    assert same == [one is heads.bound_optimal for one in heads.frontier]
    assert any(same)
    recommended = replace(heads, recommended=heads.bound_optimal)
    assert len(recommended.reported("recommended")) == 2


def test_heads_are_fitted_where_the_shape_of_validation_images_is_round_in_the_mean(
    watched: Watched, setting: Setting
) -> None:
    heads, part = watched.heads, setting.task.validation
    x = part.pixels[:].float() / 255
    on_task = lambda one: watched.run.backbone(one[None])[0] @ heads.projection.float().T  # noqa: E731
    total = torch.zeros(9, 9).double()
    for one in x:
        jacobian = torch.autograd.functional.jacobian(on_task, one).flatten(1).double()
        gram = jacobian @ jacobian.T
        total += gram / gram.diagonal().mean()
    mean = (total / len(x) + 0.05 * torch.eye(9)) / 1.05
    in_rounded = heads.rounded @ heads.projection.T
    torch.testing.assert_close(
        in_rounded @ mean @ in_rounded.T, torch.eye(9).double(), rtol=1e-3, atol=1e-3
    )


def test_of_many_validation_images_some_of_every_class_make_the_mean_shape(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, asked = fitting.find_shapes, []

    def found(run: Run, images: Images, clean: Tensor, labels: Tensor, *more: Any) -> Any:
        asked.append((images.pixels[:], clean, labels))
        return find(run, images, clean, labels, *more)

    monkeypatch.setattr(fitting, "find_shapes", found)
    monkeypatch.setattr(fitting, "SHAPED", 10)
    run, part = loaded(setting), setting.task.validation
    before = run.backbone.passes.backward
    find_probe(run)
    ((pixels, clean, labels),) = asked
    # They lie class by class.
    assert labels.tolist() == list(range(10))
    places = torch.arange(10) * 3
    assert torch.equal(pixels, part.pixels[:][places])
    torch.testing.assert_close(clean, extract(run.images(part))[places], rtol=1e-4, atol=1e-5)
    assert run.backbone.passes.backward - before == 9 * 10


def test_a_screening_fits_heads_on_the_task_as_it_is(setting: Setting) -> None:
    protocol = replace(setting.protocol, preset="screen")
    run = loaded(replace(setting, protocol=protocol))
    before = run.backbone.passes.backward
    probed = find_probe(run)
    assert probed.rounded is probed.projection
    assert run.backbone.passes.backward == before


def test_training_images_count_as_moved_by_what_validation_images_were_on_average(
    watched: Watched, setting: Setting
) -> None:
    train, validation = watched.given
    _, parts, _ = watched.judged[0]
    # The first attack was on displacement; the others came when the path was there.
    first = [Pool(part.pool.clean, part.pool.attained[:1]) for part in parts]
    reach = torch.cat([pool.displacement(watched.heads.rounded) for pool in first])
    assert torch.equal(validation.displacement, reach)
    assert (reach > 0).all()
    assert torch.equal(train.displacement, reach.mean().expand(SIZES.train))
    clean = extract(watched.run.images(setting.task.train))
    expected = clean @ watched.heads.rounded.float().T
    torch.testing.assert_close(train.features[:], expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(train.labels, setting.task.train.labels)


def test_every_head_is_judged_by_all_attacks_on_class_pairs_together(watched: Watched) -> None:
    heads = watched.heads
    assert tuple(one for one, _, _ in watched.judged) == heads.frontier
    for place, (one, parts, verdict) in enumerate(watched.judged):
        right, survived = [], []
        for part in parts:
            # Displacement, and the class pairs of each head of the frontier.
            assert len(part.pool.attained) == 1 + len(RADIUS_SCALES)
            points = torch.stack([part.pool.clean, *part.pool.attained]).double()
            logits = points @ one.head.weight.T + one.head.bias
            right.append((logits.argmax(dim=2) == part.labels).all(dim=0))
            survived.append(part.pool.scores(one.head).tolerances(part.labels))
        assert verdict[0] == pytest.approx(torch.cat(right).double().mean().item())
        assert verdict[1] == pytest.approx(torch.cat(survived).mean().item())
        assert heads.validated[place] == verdict[0]
    assert len(set(heads.validated)) > 1


def test_pairs_are_in_doubt_by_displacement_where_heads_were_fitted(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, attack, told = loaded(setting), fitting.attack_pairs, []
    probed = find_probe(run)

    def attack_with(run: Run, images: Images, pool: Pool, head: LinearHead, *more: Tensor) -> Pool:
        _, projection = more
        told.append(projection is probed.rounded)
        return attack(run, images, pool, head, *more)

    monkeypatch.setattr(fitting, "attack_pairs", attack_with)
    fit(run, probed)
    assert told == [True] * len(RADIUS_SCALES)


def test_recommended_is_the_head_that_keeps_most(watched: Watched) -> None:
    heads, verdicts = watched.heads, [verdict for _, _, verdict in watched.judged]
    assert heads.recommended is heads.frontier[verdicts.index(max(verdicts))]
    (place,) = (i for i, one in enumerate(heads.frontier) if one is heads.recommended)
    assert heads.validated[place] == max(heads.validated)


@pytest.mark.parametrize(
    ("verdicts", "place"),
    [
        ([(0.2, 0.9), (0.3, 0.1), (0.25, 0.8), (0.1, 1.0), (0.0, 1.0)], 1),
        ([(0.3, 0.5), (0.3, 0.6), (0.3, 0.7), (0.3, 0.65), (0.2, 0.9)], 2),
        ([(0.0, 0.1), (0.0, 0.2), (0.0, 0.3), (0.0, 0.4), (0.0, 0.5)], 4),
        ([(0.3, 0.5), (0.3, 0.5), (0.3, 0.5), (0.3, 0.4), (0.2, 0.9)], 0),
    ],
    ids=["most kept", "ties by tolerance", "none keeps any", "all equal: nearest to the probe"],
)
def test_recommended_by_what_is_kept_then_by_tolerance(
    setting: Setting,
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
    verdicts: list[tuple[float, float]],
    place: int,
) -> None:
    small = replace(setting, protocol=replace(setting.protocol, steps=1))
    given = iter(verdicts)
    monkeypatch.setattr(fitting, "choose_probe", lambda *_: watched.heads.probe)
    monkeypatch.setattr(fitting, "choose_path", lambda *_: watched.path)
    monkeypatch.setattr(fitting, "_kept", lambda chosen, parts: next(given))
    run = loaded(small)
    heads = fit(run, find_probe(run)).heads
    assert heads.recommended is heads.frontier[place]
    assert heads.validated == tuple(kept for kept, _ in verdicts)
