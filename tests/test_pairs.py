"""Class pairs on a linear representation, where what each can be pushed by is known exactly.

For g(x) = J x and images away from black and white, s_j = eps ||J^T (W_j - W_y)||_1 under linf, and
eps times the Euclidean norm of the same under l2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from conftest import SHAPE, SIZE, LinearBackbone, normal
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from selector.attacks import ATTACKS
from selector.batches import BatchSize, Features, Images, extract
from selector.bounds import pair_criterion_holds, pair_reach, pair_tolerances
from selector.budget import Budget
from selector.heads import LinearHead
from selector.norms import NORMS, Norm
from selector.pairs import RIVALS, in_doubt, pair_aim, search_pairs
from selector.sensitivity import Pool
from selector.threat import ThreatModel

COUNT = 24
# Each takes some images from their label and leaves others.
EPS: dict[Norm, float] = {"linf": 0.01, "l2": 0.03}
BUDGET = Budget(ATTACKS["annealed"], restarts=1, steps=30, seed=0)
EVERYTHING = torch.full((COUNT,), 1e6).double()
each_norm = pytest.mark.parametrize("norm", NORMS)


@dataclass
class Counting:
    """A backbone that counts, and keeps how many images went through at once."""

    backbone: Features
    forward: int = 0
    backward: int = 0
    batches: list[int] = field(default_factory=list)

    def __call__(self, x: Tensor) -> Tensor:
        self.forward += len(x)
        self.backward += len(x) * x.requires_grad
        self.batches.append(len(x))
        return self.backbone(x)


@dataclass(frozen=True)
class Case:
    """Images under a linear backbone, and a head under whose threat some of them are lost."""

    norm: Norm
    backbone: Counting
    images: Images
    clean: Tensor
    head: LinearHead
    labels: Tensor

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel(self.norm, EPS[self.norm])

    @property
    def margins(self) -> Tensor:
        """f_y - f_j (n,K)."""
        logits = self.head(self.clean)
        return logits.gather(1, self.labels[:, None]) - logits

    @property
    def reach(self) -> Tensor:
        """Exact s_j (n,K)."""
        matrix = self.backbone.backbone.matrix.double()
        order = 1 if self.norm == "linf" else 2
        pairs = self.head.weight[None] - self.head.weight[:, None]
        return (
            EPS[self.norm] * torch.linalg.vector_norm(pairs @ matrix, ord=order, dim=2)[self.labels]
        )

    @property
    def leads(self) -> Tensor:
        """The farthest that each rival gets ahead of the label (n,K-1), below 0: behind."""
        own = torch.nn.functional.one_hot(self.labels, len(self.head.bias)).bool()
        return (self.reach - self.margins)[~own].view(len(self.labels), -1)

    def granted(self, displacement: Tensor) -> Tensor:
        return pair_reach(self.head.weight, self.labels, displacement)

    def search(self, displacement: Tensor, lost: Tensor | None = None) -> Tensor:
        lost = torch.zeros(len(self.labels)).bool() if lost is None else lost
        doubts = in_doubt(self.clean, self.head, self.labels, self.granted(displacement), lost)
        self.backbone.forward = self.backbone.backward = 0
        self.backbone.batches.clear()
        return search_pairs(self.images, doubts, self.threat, BUDGET)

    def lead(self, features: Tensor) -> Tensor:
        """How far the best rival is ahead (n,)."""
        logits = self.head(features)
        own = torch.nn.functional.one_hot(self.labels, logits.shape[1]).bool()
        return logits.masked_fill(own, -torch.inf).amax(dim=1) - logits[own]


def case(norm: Norm, classes: int = 5, seed: int = 0, batch: int = 100, count: int = COUNT) -> Case:
    """Every image is right, about half of them by less than the threat can push."""
    values = torch.Generator().manual_seed(seed)
    pixels = torch.randint(100, 156, (count, *SHAPE), dtype=torch.uint8, generator=values)
    backbone = Counting(LinearBackbone(normal(6, SIZE, seed=seed)))
    images = Images(pixels, backbone, torch.device("cpu"), BatchSize(batch))
    clean = extract(images)
    weight = normal(classes, 6, seed=seed + 1)
    # Away from the images' mean all classes would be named alike.
    head = LinearHead(weight, -weight @ clean.double().mean(dim=0))
    return Case(norm, backbone, images, clean, head, head(clean).argmax(dim=1))


# Which pairs are in doubt.


@st.composite
def doubtful(draw: st.DrawFn) -> tuple[Tensor, LinearHead, Tensor, Tensor, Tensor]:
    """Clean features, a head, labels, displacement, who is lost."""
    seed, classes = draw(st.integers(0, 2**31)), draw(st.sampled_from([2, 3, 9, 10, 14]))
    scale = draw(st.sampled_from([0.0, 0.1, 1.0, 30.0]))
    clean = 2 * normal(6, 4, seed=seed).float()
    head = LinearHead(normal(classes, 4, seed=seed + 1), normal(classes, seed=seed + 2))
    labels = head(clean).argmax(dim=1)
    lost = torch.tensor(draw(st.lists(st.booleans(), min_size=6, max_size=6)))
    return clean, head, labels, scale * normal(6, seed=seed + 3).abs(), lost


@given(doubtful())
def test_in_doubt_are_the_pairs_whose_margin_displacement_does_not_exceed(given_: tuple) -> None:
    clean, head, labels, displacement, lost = given_
    found = in_doubt(clean, head, labels, pair_reach(head.weight, labels, displacement), lost)
    assert torch.equal(found.held, ~lost)
    for i, rivals in enumerate(found.rivals.tolist()):
        y = labels[i].item()
        logits = clean[i].double() @ head.weight.T + head.bias
        danger = {}
        for j in range(len(head.bias)):
            c = (head.weight[j] - head.weight[y]).norm()
            margin = (logits[y] - logits[j]).item()
            if j != y and margin < 1.1 * c * displacement[i]:
                danger[j] = (c * displacement[i]).item() / margin
        expected = sorted(danger, key=lambda j: -danger[j])[:RIVALS]
        assert [j for j in rivals if j >= 0] == expected
        assert rivals[len(expected) :] == [-1] * (len(rivals) - len(expected))


def test_at_most_so_many_rivals_as_autoattack_tries() -> None:
    head = LinearHead(normal(30, 4, seed=1), torch.zeros(30).double())
    clean = normal(5, 4, seed=2).float()
    labels = head(clean).argmax(dim=1)
    found = in_doubt(clean, head, labels, torch.full((5, 30), 1e6), torch.zeros(5).bool())
    assert RIVALS == 9
    assert found.rivals.shape == (5, 9)
    assert (found.rivals >= 0).all()


def test_an_image_that_displacement_settles_has_no_rival() -> None:
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]).double()
    head = LinearHead(weight, torch.zeros(3).double())
    clean = torch.tensor([[2.0, 0.0]] * 4)
    # Margins 4 and 2 at distances 2 and sqrt 2: in doubt from 1.818 and 1.286 on.
    displacement, labels = torch.tensor([1.2, 1.3, 1.8, 1.9]), torch.zeros(4).long()
    reach = pair_reach(head.weight, labels, displacement)
    found = in_doubt(clean, head, labels, reach, torch.zeros(4).bool())
    assert found.rivals.tolist() == [[-1, -1, -1], [2, -1, -1], [2, -1, -1], [2, 1, -1]]


def test_the_aim_of_a_pair_is_the_lead_of_its_rival() -> None:
    head = LinearHead(normal(4, 3, seed=0), normal(4, seed=1))
    labels, rivals = torch.tensor([2, 0, 1, 3]), torch.tensor([1, 3, 0, 2])
    features, index = normal(2, 3, seed=2).float(), torch.tensor([3, 1])
    logits = features.double() @ head.weight.T + head.bias
    expected = torch.stack([logits[0, 2] - logits[0, 3], logits[1, 3] - logits[1, 0]])
    found = pair_aim(head, labels, rivals)(features, index)
    torch.testing.assert_close(found, expected.float())


# What attacks on them attain.


@each_norm
@pytest.mark.parametrize("seed", range(3))
def test_of_two_classes_the_margin_left_is_exact(norm: Norm, seed: int) -> None:
    c = case(norm, classes=2, seed=seed)
    found = c.lead(c.search(EVERYTHING))
    torch.testing.assert_close(found, c.leads[:, 0], rtol=1e-4, atol=1e-4)


@each_norm
@pytest.mark.parametrize("seed", range(3))
def test_who_can_be_lost_is_lost_and_nobody_else(norm: Norm, seed: int) -> None:
    c = case(norm, seed=seed)
    worst = c.leads.amax(dim=1)
    assert worst.abs().min() > 1e-3, "no image may be too close to call"
    robust = pair_criterion_holds(c.head(c.clean), c.labels, c.reach)
    assert torch.equal(robust, worst < 0)
    assert 3 <= robust.sum() <= COUNT - 3
    # The displacement on g that is known to suffice: J's largest singular value, or all corners.
    s = torch.full((COUNT,), c.backbone.backbone.largest_displacement(norm, EPS[norm])).double()
    features = c.search(s)
    pool = Pool(c.clean, (features,))
    assert torch.equal(pool.scores(c.head).always_correct(c.labels), robust)
    assert (c.lead(features) <= worst + 1e-4).all()
    # Of those who keep their label, some rival came as close as the closest in doubt can.
    rivals = in_doubt(c.clean, c.head, c.labels, c.granted(s), ~robust).rivals
    nearest = (c.reach - c.margins).gather(1, rivals.clamp_min(0))
    nearest = nearest.masked_fill(rivals < 0, -torch.inf).amax(dim=1)
    assert (nearest[robust] > -torch.inf).any()
    assert (c.lead(features) >= nearest - 1e-4)[robust].all()


@each_norm
def test_where_every_pair_is_in_doubt_the_margin_left_is_exact(norm: Norm) -> None:
    c = case(norm)
    features, worst = c.search(EVERYTHING), c.leads.amax(dim=1)
    robust = worst < 0
    torch.testing.assert_close(c.lead(features)[robust], worst[robust], rtol=1e-4, atol=1e-4)
    assert (c.lead(features)[~robust] > 0).all()


@each_norm
def test_what_a_pool_says_of_pairs_is_exact_where_all_were_attacked(norm: Norm) -> None:
    c = case(norm, classes=2)
    pool = Pool(c.clean, (c.search(EVERYTHING),))
    own = torch.nn.functional.one_hot(c.labels, 2).bool()
    reach = pool.scores(c.head).pair_reach(c.labels)
    torch.testing.assert_close(reach[~own], c.reach[~own], rtol=1e-4, atol=1e-4)
    assert (reach[own] == 0).all()
    torch.testing.assert_close(
        pool.scores(c.head).tolerances(c.labels),
        pair_tolerances(c.head(c.clean), c.labels, c.reach),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0, 1e6])
@each_norm
def test_displacement_alone_takes_no_image_whatever_it_says(norm: Norm, share: float) -> None:
    """Too little leaves images unattacked, too much attacks them in vain: no more than that."""
    c = case(norm)
    exact = c.backbone.backbone.largest_displacement(norm, EPS[norm])
    features = c.search(torch.full((COUNT,), share * exact).double())
    robust = c.leads.amax(dim=1) < 0
    attacked = ~Pool(c.clean, (features,)).scores(c.head).always_correct(c.labels)
    assert not (attacked & robust).any()
    assert (c.lead(features) <= c.leads.amax(dim=1) + 1e-4).all()
    if share == 0:
        assert torch.equal(features, c.clean)
        assert c.backbone.forward == 0
    if share >= 1:
        assert torch.equal(attacked, ~robust)


# What they cost.


def passes(c: Case) -> tuple[int, int]:
    return c.backbone.forward, c.backbone.backward


@each_norm
def test_lost_images_take_no_pass_and_keep_their_clean_features(norm: Norm) -> None:
    c = case(norm)
    lost = torch.arange(COUNT) % 3 > 0
    features = c.search(EVERYTHING, lost)
    others = c.search(EVERYTHING)
    assert torch.equal(features[lost], c.clean[lost])
    torch.testing.assert_close(features[~lost], others[~lost], rtol=1e-4, atol=1e-5)
    assert not torch.isclose(features[~lost], c.clean[~lost]).all(dim=1).any()
    c.search(EVERYTHING, torch.ones(COUNT).bool())
    assert passes(c) == (0, 0)


@each_norm
def test_an_image_is_attacked_pair_by_pair_until_it_is_lost(norm: Norm) -> None:
    c = case(norm)
    lost = torch.arange(COUNT) % 4 == 0
    c.search(EVERYTHING, lost)
    found = passes(c)
    doubts = in_doubt(c.clean, c.head, c.labels, c.granted(EVERYTHING), lost)
    leads = c.reach - c.margins
    pairs = 0
    for i in (~lost).nonzero()[:, 0].tolist():
        for rival in (j for j in doubts.rivals[i].tolist() if j >= 0):
            pairs += 1
            # Where one rival gets ahead the image is lost; where that rival does not, at its
            # own point another one could: seeds without such an image are chosen.
            if leads[i, rival] > 0:
                break
    assert found == (pairs * BUDGET.forward_passes, pairs * BUDGET.backward_passes)
    assert pairs < (~lost).sum() * 4


def test_images_without_doubts_take_no_pass_and_keep_their_clean_features() -> None:
    c = case("linf", count=10)
    displacement = torch.where(torch.arange(10) % 2 == 0, 1e6, 0.0)
    features = c.search(displacement)
    assert torch.equal(features[1::2], c.clean[1::2])
    assert not torch.isclose(features[::2], c.clean[::2]).all(dim=1).any()
    assert max(c.backbone.batches) == 5


def test_images_in_doubt_fill_batches_however_many_others_lie_between() -> None:
    c = case("linf", classes=2, batch=2)
    displacement = torch.where(torch.arange(COUNT) % 8 == 0, 1e6, 0.0)
    features = c.search(displacement)
    # Three images, one in eight: two together, and one.
    assert set(c.backbone.batches) == {1, 2}
    assert c.backbone.batches.count(1) == c.backbone.batches.count(2)
    whole = case("linf", classes=2).search(displacement)
    torch.testing.assert_close(features, whole, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("batch", [1, 2, 7])
@each_norm
def test_the_result_does_not_depend_on_the_batch_size(norm: Norm, batch: int) -> None:
    lost = torch.arange(COUNT) % 5 == 0
    whole, parts = case(norm).search(EVERYTHING, lost), case(norm, batch=batch)
    # A ball is flat at its top, where rounding goes a way.
    torch.testing.assert_close(parts.search(EVERYTHING, lost), whole, rtol=1e-3, atol=2e-4)
    assert max(parts.backbone.batches) <= batch
