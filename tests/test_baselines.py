"""What others rank by, against scikit-learn, published implementations' values, and plain sums."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from itertools import chain

import numpy as np
import pytest
import torch
from conftest import DEVICES, normal
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf, ledoit_wolf_shrinkage
from sklearn.datasets import load_digits, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from threadpoolctl import threadpool_info, threadpool_limits
from torch import Tensor

from selector import baselines as module
from selector import spool
from selector.baselines import TRAIN_IMAGES, Baselines, baselines, knn_correct, log_me
from selector.batches import AT_ONCE
from selector.discriminants import centred, h_score, lda_correct, shrinkage
from selector.heads import Labelled
from selector.intervals import proportion
from selector.records import BaselineScores
from selector.rows import Rows
from selector.summary import baseline_scores


@dataclass(frozen=True)
class Case:
    """Features of training and of test images."""

    train: Tensor
    labels: Tensor
    test: Tensor
    classes: int

    @property
    def fit(self) -> Labelled:
        return Labelled.clean(self.train, self.labels)

    def asked(self, answers: Tensor) -> Labelled:
        """The test images, if these were the right answers."""
        return Labelled.clean(self.test, answers)

    def answers(self, how) -> Tensor:
        """What a classifier names each test image: -1 where it names several or none."""
        right = torch.stack(
            [how(self.fit, self.asked(torch.full((len(self.test),), c))) for c in self.names]
        )
        return torch.where(right.sum(dim=0) == 1, right.int().argmax(dim=0), -1)

    @property
    def names(self) -> range:
        return range(self.classes)

    def knn(self) -> Tensor:
        return self.answers(lambda train, test: knn_correct(train, test, self.classes))

    def lda(self) -> Tensor:
        return self.answers(lda_correct)

    def moved(self, matrix: Tensor, shift: float = 0.0) -> Case:
        """The same images, their features multiplied and shifted."""
        return replace(self, train=self.train @ matrix + shift, test=self.test @ matrix + shift)

    def turned(self, seed: int) -> Case:
        size = self.train.shape[1]
        return self.moved(torch.linalg.qr(normal(size, size, seed=seed)).Q)

    def renamed(self, order: list[int]) -> Case:
        """Class c is called ``order[c]``."""
        return replace(self, labels=torch.tensor(order)[self.labels])


def case(seed: int, classes: int = 3, images: int = 24, dimensions: int = 5) -> Case:
    """Classes that overlap, every one with the same number of images, give or take one."""
    labels = torch.arange(images) % classes
    centres = 1.5 * normal(classes, dimensions, seed=seed)
    return Case(
        train=centres[labels] + normal(images, dimensions, seed=seed + 1) + 0.5,
        labels=labels,
        test=2 * normal(40, dimensions, seed=seed + 2) + 0.5,
        classes=classes,
    )


seeds = st.integers(0, 2**31)
cases = st.builds(
    case,
    seed=seeds,
    classes=st.integers(2, 4),
    images=st.integers(16, 40),
    dimensions=st.integers(2, 30),
)


def shipped(load) -> tuple[Tensor, Tensor]:
    """Features and labels of a data set that comes with scikit-learn."""
    features, labels = load(return_X_y=True)
    return torch.from_numpy(features), torch.from_numpy(labels)


def halves(load) -> Case:
    features, labels = shipped(load)
    return Case(features[::2], labels[::2], features[1::2], int(labels.max()) + 1)


# Values of other implementations.


def test_log_me_has_the_values_of_its_authors_code():
    assert log_me(*shipped(load_iris), 3) == pytest.approx(-0.1600602436621271, abs=1e-12)
    assert log_me(*shipped(load_digits), 10) == pytest.approx(0.27027745546535487, abs=1e-12)


def test_log_me_of_few_digits_has_them_too_but_for_fewer_than_there_are_features():
    """Of 50 theirs is 1.4454, above that of any larger sample: it leaves directions out."""
    features, labels = shipped(load_digits)
    draws = np.random.default_rng(0)
    for images, expected in (
        (50, 0.0458),
        (100, 0.0652),
        (200, 0.1276),
        (500, 0.2150),
        (1000, 0.2573),
    ):
        few = torch.from_numpy(draws.permutation(1797)[:images])
        assert log_me(features[few], labels[few], 10) == pytest.approx(expected, abs=5e-5)


def test_the_h_score_has_the_values_of_the_transfer_learning_library():
    assert h_score(*shipped(load_iris)) == pytest.approx(1.177842499331281, abs=1e-12)
    assert h_score(*shipped(load_digits)) == pytest.approx(5.8514, abs=5e-5)


# Against scikit-learn and plain sums.


@given(seeds, st.integers(2, 40), st.integers(1, 40))
def test_the_shrinkage_is_that_of_scikit_learn(seed: int, images: int, dimensions: int):
    z = centred((normal(images, dimensions, seed=seed) + 3).numpy())
    assert shrinkage(z) == pytest.approx(ledoit_wolf_shrinkage(z), abs=1e-9)


@given(seeds, st.integers(2, 40))
def test_a_single_feature_is_not_shrunk(seed: int, images: int):
    assert shrinkage(centred(normal(images, 1, seed=seed).numpy())) == 0


@given(cases)
def test_the_h_score_is_the_trace_of_its_definition(c: Case):
    z, labels = c.train.numpy(), c.labels.numpy()
    means = np.stack([z[labels == label].mean(axis=0) for label in labels])
    model = LedoitWolf().fit(z)
    between = (1 - model.shrinkage_) * np.atleast_2d(np.cov(means, rowvar=False))
    expected = np.trace(model.precision_ @ between)
    assert h_score(c.train, c.labels) == pytest.approx(expected, rel=1e-9)


def reference_lda(c: Case) -> Tensor:
    unit = (c.train - c.train.mean(dim=0)).square().mean().sqrt()
    model = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
    model.fit((c.train / unit).numpy(), c.labels.numpy())
    return torch.from_numpy(model.predict((c.test / unit).numpy()))


@given(cases)
def test_lda_answers_as_scikit_learn_does(c: Case):
    assert torch.equal(c.lda(), reference_lda(c))


@pytest.mark.parametrize("load", [load_iris, load_digits])
def test_lda_answers_as_scikit_learn_does_on_real_features(load):
    # Of the digits' features some are constant, and more are within a class.
    c = halves(load)
    assert torch.equal(c.lda(), reference_lda(c))


@given(st.floats(-1e6, 1e6), st.integers(1, 40))
def test_what_is_constant_is_exactly_zero_when_it_is_centred(value: float, images: int):
    # Else its rounding would count as its scale.
    assert (centred(np.full((images, 2), value)) == 0).all()


@given(cases, st.sampled_from([0.1, 1 / 3, 7.0]))
def test_lda_answers_as_scikit_learn_does_where_a_feature_is_constant_in_each_class(
    c: Case, step: float
):
    # Whose mean over the class may differ from it by rounding.
    c = replace(c, train=torch.cat([step * c.labels[:, None], c.train[:, 1:]], dim=1))
    assert torch.equal(c.lda(), reference_lda(c))


@pytest.mark.filterwarnings("ignore:Only one sample available")
def test_lda_answers_as_scikit_learn_does_where_a_class_has_a_single_image():
    c = case(0, images=25)
    alone = replace(c, labels=torch.where(torch.arange(25) == 7, 3, c.labels), classes=4)
    assert torch.equal(alone.lda(), reference_lda(alone))
    assert (alone.lda() == 3).any()


@given(cases)
def test_knn_answers_as_sorting_all_cosines_does(c: Case):
    unit = [f / f.norm(dim=1, keepdim=True) for f in (c.train, c.test)]
    apart = 1 - unit[1] @ unit[0].T
    nearest = apart.argsort(dim=1)[:, : min(5, len(c.train) // c.classes)]
    votes = torch.zeros(len(c.test), c.classes).double()
    for place in nearest.T:
        distance = apart.gather(1, place[:, None])[:, 0]
        votes[torch.arange(len(c.test)), c.labels[place]] += 1 / distance
    assume((votes.topk(2).values.diff(dim=1).abs() > 1e-6).all())
    assert torch.equal(c.knn(), votes.argmax(dim=1))


def test_fewer_images_vote_where_classes_have_few():
    # One image of its own class, nearest, and four of another.
    features = torch.tensor([[1.0, 0.02], [1.0, 0.03], [1.0, -0.03], [1.0, 0.04], [1.0, -0.04]])
    train = Labelled.clean(features, torch.tensor([0, 1, 1, 1, 1]))
    test = Labelled.clean(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert knn_correct(train, test, classes=5).tolist() == [True]
    assert knn_correct(train, test, classes=1).tolist() == [False]


@pytest.mark.parametrize(("images", "dimensions"), [(60, 4), (30, 40)])
def test_log_me_is_the_largest_evidence_there_is(images: int, dimensions: int):
    """The target is normal with covariance I / beta + Z Z^T / alpha; of these the likeliest."""
    c = case(5, classes=2, images=images, dimensions=dimensions)
    z = c.train.numpy()

    def evidence(logs: np.ndarray, target: np.ndarray) -> float:
        covariance = np.eye(images) / np.exp(logs[0]) + z @ z.T / np.exp(logs[1])
        return float(multivariate_normal.logpdf(target, cov=covariance)) / images

    largest = [
        -minimize(lambda logs, y=y: -evidence(logs, y), (1.0, 1.0), method="Nelder-Mead").fun
        for y in ((c.labels == label).numpy().astype(float) for label in range(2))
    ]
    assert log_me(c.train, c.labels, 2) == pytest.approx(np.mean(largest), abs=1e-3)


# What must not change them.


@given(cases, seeds, st.sampled_from([1e-3, 0.1, 1e3]))
def test_knn_depends_neither_on_the_unit_nor_on_a_rotation(c: Case, seed: int, scale: float):
    found = c.knn()
    assert torch.equal(c.moved(scale * torch.eye(c.train.shape[1]).double()).knn(), found)
    assert torch.equal(c.turned(seed).knn(), found)


@pytest.mark.parametrize("scale", [1e-300, 1e-15, 1e300])
def test_knn_takes_no_small_features_for_none(scale: float):
    c = case(0, classes=3, images=30, dimensions=4)
    found = c.knn()
    assert len(found.unique()) > 1
    assert torch.equal(c.moved(scale * torch.eye(4).double()).knn(), found)


@given(cases, st.sampled_from([1e-3, 0.1, 1e3]), st.sampled_from([-2.0, 5.0]))
def test_lda_depends_neither_on_the_unit_nor_on_a_shift(c: Case, scale: float, shift: float):
    # A feature that is constant in a class is where scikit-learn's own does depend on the unit.
    dead = torch.where(c.labels == 0, 1.0, c.train[:, 0])
    c = replace(c, train=torch.cat([dead[:, None], c.train[:, 1:]], dim=1))
    scaled = c.moved(scale * torch.eye(c.train.shape[1]).double(), shift)
    assert torch.equal(scaled.lda(), c.lda())


@given(cases, seeds, st.sampled_from([1e-3, 0.1, 1e3]))
def test_the_h_score_depends_on_no_unit_rotation_or_shift(c: Case, seed: int, scale: float):
    found = h_score(c.train, c.labels)
    assert h_score(scale * c.train, c.labels) == pytest.approx(found, rel=1e-9)
    assert h_score(c.turned(seed).train, c.labels) == pytest.approx(found, rel=1e-9)
    assert h_score(c.train + 7, c.labels) == pytest.approx(found, rel=1e-9)


@given(cases, seeds)
def test_log_me_depends_on_no_rotation(c: Case, seed: int):
    found = log_me(c.train, c.labels, c.classes)
    assert log_me(c.turned(seed).train, c.labels, c.classes) == pytest.approx(found, abs=1e-9)


def test_log_me_depends_on_the_unit():
    features, labels = shipped(load_digits)
    assert log_me(1000 * features, labels, 10) == pytest.approx(0.1619, abs=5e-5)


@given(cases, st.randoms(use_true_random=False))
def test_the_names_of_classes_change_nothing(c: Case, random):
    order = list(c.names)
    random.shuffle(order)
    renamed = c.renamed(order)
    for answers in (Case.knn, Case.lda):
        assert torch.equal(answers(renamed), torch.tensor(order)[answers(c)])
    assert h_score(c.train, renamed.labels) == pytest.approx(h_score(c.train, c.labels))
    assert log_me(c.train, renamed.labels, c.classes) == pytest.approx(
        log_me(c.train, c.labels, c.classes)
    )


@given(cases)
def test_a_class_without_an_image_changes_nothing(c: Case):
    apart = c.renamed([2 * name for name in c.names])
    assert log_me(c.train, apart.labels, 2 * c.classes) == pytest.approx(
        log_me(c.train, c.labels, c.classes)
    )
    assert h_score(c.train, apart.labels) == pytest.approx(h_score(c.train, c.labels))
    assert torch.equal(replace(apart, classes=2 * c.classes).lda(), 2 * c.lda())


@given(cases)
def test_dead_features_leave_log_me_as_it_is_and_doubled_ones_only_rescale(c: Case):
    found = log_me(c.train, c.labels, c.classes)
    dead = torch.cat([c.train, torch.zeros(len(c.train), 50).double()], dim=1)
    assert log_me(dead, c.labels, c.classes) == pytest.approx(found, abs=1e-9)
    doubled = torch.cat([c.train, c.train], dim=1)
    rescaled = log_me(2**0.5 * c.train, c.labels, c.classes)
    assert log_me(doubled, c.labels, c.classes) == pytest.approx(rescaled, abs=1e-9)


# Fewer images than features.


def test_with_fewer_images_than_features_labels_at_random_do_not_look_learnable():
    labels = torch.arange(300) % 47
    features = normal(300, 512, seed=0)
    learnable = features + 3 * normal(47, 512, seed=1)[labels]
    assert h_score(learnable, labels) > 20
    assert h_score(features, labels) < 5
    assert log_me(learnable, labels, 47) > log_me(features, labels, 47) + 0.5


# What cannot be computed.


def scores(c: Case) -> Baselines:
    return baselines(c.fit, c.asked(torch.zeros(len(c.test), dtype=torch.long)), c.classes)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
def test_constant_features_have_no_discriminant(value: float):
    c = case(0)
    found = scores(replace(c, train=torch.full_like(c.train, value)))
    assert found.knn_correct.shape == (40,)
    assert found.lda_correct is None
    assert found.h_score is None
    # A constant is a model, if a poor one.
    assert (found.log_me is None) == (value == 0)


def test_a_class_for_each_point_has_no_covariance_within():
    c = case(0)
    found = scores(replace(c, train=normal(3, 5, seed=1)[c.labels]))
    assert found.lda_correct is None
    assert found.h_score == pytest.approx(2, abs=0.3)
    assert np.isfinite(found.log_me)


@given(seeds, st.integers(5, 30))
def test_two_images_a_class_of_many_features_have_no_covariance_within(seed: int, dimensions: int):
    c = case(seed, classes=4, images=8, dimensions=dimensions)
    assert lda_correct(c.fit, c.fit) is None
    fewer = Labelled.clean(c.train, c.labels.clamp_max(2))
    assert lda_correct(fewer, fewer) is not None


def test_two_points_of_equally_many_images_have_no_h_score():
    points, labels = torch.tensor([[1.0, 2.0], [1.5, 7.0]]), torch.tensor([0, 0, 1, 1, 1])
    assert h_score(points[labels[1:3]], labels[1:3]) is None
    assert h_score(points[labels[:4]], labels[:4]) is None
    assert h_score(points[labels], labels) is not None


@given(cases)
def test_features_that_appear_twice_do_no_harm(c: Case):
    size = c.train.shape[1]
    found = scores(c.moved(torch.cat([torch.eye(size), torch.eye(size)], dim=1).double()))
    assert torch.equal(found.knn_correct, scores(c).knn_correct)
    assert found.lda_correct is not None
    assert 0 < found.h_score < c.classes
    assert np.isfinite(found.log_me)


degenerate = st.sampled_from([0.0, 1e-30, 1e-12, 1e-3, 1.0, 1e6, 1e30])


@given(
    seeds,
    st.lists(degenerate, min_size=1, max_size=6),
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
    degenerate,
)
def test_nothing_that_is_finite_crashes_or_warns(
    seed: int, scales: list[float], labels: list[int], shift: float
):
    # Rounded, so that points coincide and columns are constant.
    points = normal(len(labels), len(scales), seed=seed).round() * torch.tensor(scales) + shift
    data = Labelled.clean(points.float(), torch.tensor(labels))
    found = baselines(data, data, 4)
    assert found.knn_correct.shape == (len(labels),)
    assert found.lda_correct is None or found.lda_correct.shape == (len(labels),)
    assert all(s is None or np.isfinite(s) for s in (found.log_me, found.h_score))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_features_that_are_not_finite_are_refused(value: float):
    c = case(0)
    bad = c.train.clone()
    bad[3, 1] = value
    broken, fine = Labelled.clean(bad, c.labels), c.fit
    for refuses in (
        lambda: baselines(broken, fine, 3),
        lambda: baselines(fine, broken, 3),
        lambda: knn_correct(broken, fine, 3),
        lambda: knn_correct(fine, broken, 3),
        lambda: lda_correct(broken, fine),
        lambda: lda_correct(fine, broken),
        lambda: log_me(bad, c.labels, 3),
        lambda: h_score(bad, c.labels),
    ):
        with pytest.raises(FloatingPointError, match="not finite"):
            refuses()


# All of them, from rows that may lie in a file.


def test_all_are_those_of_each_function():
    c = halves(load_iris)
    test = c.asked(shipped(load_iris)[1][1::2])
    found = baselines(c.fit, test, 3)
    assert torch.equal(found.knn_correct, knn_correct(c.fit, test, 3))
    assert torch.equal(found.lda_correct, lda_correct(c.fit, test))
    assert found.log_me == log_me(c.train, c.labels, 3)
    assert found.h_score == h_score(c.train, c.labels)
    assert found.knn_correct.double().mean() > 0.9
    assert found.lda_correct.double().mean() > 0.9


def test_rows_in_a_file_give_what_those_in_memory_give(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    c = case(0, images=50)
    answers = torch.arange(40) % 3
    expected = baselines(c.fit, c.asked(answers), 3)
    filed = [spool.collect(iter(f.split(7)), len(f)) for f in (c.train, c.test)]
    assert all(isinstance(rows, spool.FileRows) for rows in filed)
    found = baselines(Labelled.clean(filed[0], c.labels), Labelled.clean(filed[1], answers), 3)
    for one, other in zip(astuple(found), astuple(expected), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


@dataclass(frozen=True)
class Watched:
    """Rows that note how many are asked for at a time."""

    rows: Tensor
    asked: list[int]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.rows.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: slice | Tensor, /) -> Tensor:
        found = self.rows[places]
        self.asked.append(len(found))
        return found


def watched(images: int, seed: int) -> Watched:
    return Watched(normal(images, 3, seed=seed), [])


def test_no_more_rows_are_read_at_a_time_than_is_said():
    train, test = watched(2 * TRAIN_IMAGES, seed=0), watched(2 * AT_ONCE + 5, seed=1)
    rows: tuple[Rows, Rows] = train, test
    few, many = (Labelled.clean(r, torch.arange(len(r)) % 4) for r in rows)
    found = baselines(few, many, 4)
    assert len(found.knn_correct) == len(found.lda_correct) == len(test)
    assert train.asked == [TRAIN_IMAGES]
    assert max(test.asked) == AT_ONCE
    assert f"{TRAIN_IMAGES:,} training images" in BaselineScores.__doc__


def drawn(counts: list[int], size: int, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """For each class, which of its images are used."""
    monkeypatch.setattr(module, "TRAIN_IMAGES", size)
    labels = torch.tensor(list(chain(*([c] * count for c, count in enumerate(counts)))))
    used: list[Tensor] = []

    class Noted(Watched):
        def __getitem__(self, places: slice | Tensor, /) -> Tensor:
            used.append(torch.arange(len(self))[places])
            return super().__getitem__(places)

    train = Labelled.clean(Noted(normal(len(labels), 2, seed=0), []), labels)
    baselines(train, train, len(counts))
    assert len(used[0].unique()) == len(used[0]) == min(size, len(labels))
    assert (used[0].diff() > 0).all()
    starts = np.cumsum([0, *counts[:-1]])
    return [
        (used[0][labels[used[0]] == c] - start).tolist() for c, start in enumerate(starts.tolist())
    ]


def test_of_many_training_images_the_same_share_of_each_class_is_used(monkeypatch):
    found = drawn([600, 300, 100], 100, monkeypatch)
    assert [len(places) for places in found] == [60, 30, 10]
    # From all over the class, as neighbours may be alike, and the same for the next backbone.
    assert 200 < np.mean(found[0]) < 400
    assert drawn([600, 300, 100], 100, monkeypatch) == found


def test_two_of_a_rare_class_are_used_and_all_where_there_are_few(monkeypatch):
    assert [len(places) for places in drawn([5000, 4, 1], 50, monkeypatch)] == [47, 2, 1]
    assert [len(places) for places in drawn([90, 4, 1], 3, monkeypatch)] == [1, 1, 1]
    assert drawn([3, 2], 5, monkeypatch) == [[0, 1, 2], [0, 1]]


@pytest.mark.parametrize(("worth", "expected"), [(10**9, 1), (0, 2)])
def test_a_small_problem_is_left_to_one_thread(worth: int, expected: int, monkeypatch):
    found = []

    def noted(train: Labelled, test: Labelled) -> None:
        found.extend(pool["num_threads"] for pool in threadpool_info())

    monkeypatch.setattr(module, "_WORTH_THREADS", worth)
    monkeypatch.setattr(module, "lda_correct", noted)
    with threadpool_limits(2):
        scores(case(0))
    assert max(found) == expected


@pytest.mark.parametrize("device", DEVICES)
def test_features_and_labels_may_be_on_any_device(device: str):
    c = case(0)
    answers = torch.arange(40) % 3
    expected = baselines(c.fit, c.asked(answers), 3)
    train = Labelled.clean(c.train.to(device), c.labels.to(device))
    found = baselines(train, Labelled.clean(c.test.to(device), answers.to(device)), 3)
    assert torch.equal(found.knn_correct, expected.knn_correct)
    assert torch.equal(found.lda_correct, expected.lda_correct)
    assert (found.log_me, found.h_score) == (expected.log_me, expected.h_score)


# The record.


def test_the_record_has_shares_with_intervals_and_keeps_what_is_missing():
    right = torch.tensor([True, True, False, True])
    record = baseline_scores(Baselines(right, ~right, log_me=-0.5, h_score=1.5))
    assert record.knn_accuracy == proportion(right)
    assert record.lda_accuracy == proportion(~right)
    assert (record.log_me, record.h_score) == (-0.5, 1.5)
    bare = baseline_scores(Baselines(right, None, None, None))
    assert (bare.lda_accuracy, bare.log_me, bare.h_score) == (None, None, None)
    assert BaselineScores.model_validate_json(bare.model_dump_json()) == bare
