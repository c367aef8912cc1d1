"""The checks before a backbone is measured: every planted failure is found, a good one passes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from selector.backbones import Backbone
from selector.batches import lacks_memory
from selector.errors import CandidateError
from selector.norms import NORMS, Norm
from selector.preflight import check_backbone
from selector.threat import ThreatModel


class Good(nn.Module):
    """A convolution and a mean over positions, with the two methods of a timm network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 3)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.conv(x).tanh()

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        assert pre_logits
        return x.mean(dim=(2, 3))


class Constant(Good):
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return 0 * x.mean(dim=(2, 3)) + 0.5


class NotANumber(Good):
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        features = x.mean(dim=(2, 3)).clone()
        features[1, 0] = math.nan
        return features


class Infinite(Good):
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x.mean(dim=(2, 3)) + math.inf


class Dropout(Good):
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return nn.functional.dropout(x.mean(dim=(2, 3)), 0.5, training=True)


class Unpooled(Good):
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x


class OneRowForAll(Good):
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x.mean(dim=(0, 2, 3))[None]


class Raising(Good):
    def forward_features(self, x: Tensor) -> Tensor:
        raise AssertionError("Input height (8) doesn't match model (224).\nAnd more.")


class Rounding(Good):
    """As a quantised preprocessing does; the step is finer than the perturbation."""

    def forward_features(self, x: Tensor) -> Tensor:
        return super().forward_features((x * 255).round() / 255)


class RoundingOfOneImage(Good):
    def forward_features(self, x: Tensor) -> Tensor:
        rounded = (x * 255).round() / 255
        return super().forward_features(torch.cat([x[:1], rounded[1:2], x[2:]]))


class Centred(Good):
    """Features less those of the mean image of the batch."""

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        features = x.mean(dim=(2, 3))
        return features - features.mean(dim=0)


class LessTheFirst(Good):
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        features = x.mean(dim=(2, 3))
        return 1 + features - features[:1]


class LessTheLast(Good):
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        features = x.mean(dim=(2, 3))
        return 1 + features - features[-1:]


class NotANumberAlone(Good):
    """As a standard deviation over the batch is."""

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        features = x.mean(dim=(2, 3))
        return features if len(x) > 1 else features * math.nan


class Squeezed(Good):
    """Without the dimension of the batch where it is one."""

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x.mean(dim=(2, 3)).squeeze()


class InHalfPrecision(Good):
    """Sums of many values, each rounded to 8 bits."""

    def forward_features(self, x: Tensor) -> Tensor:
        weight, bias = (value.bfloat16() for value in (self.conv.weight, self.conv.bias))
        return nn.functional.conv2d(x.bfloat16(), weight, bias).tanh()

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return super().forward_head(x, pre_logits).float()


class Detached(Good):
    def forward_features(self, x: Tensor) -> Tensor:
        return super().forward_features(x.detach())


class WithoutGradient(Good):
    @torch.no_grad()
    def forward_features(self, x: Tensor) -> Tensor:
        return super().forward_features(x)


class InfiniteSlope(Good):
    """Finite features, and 0 · inf in the gradient."""

    def forward_features(self, x: Tensor) -> Tensor:
        return super().forward_features(x + (0 * x).sqrt())


def backbone(network: nn.Module, size: int = 8) -> Backbone:
    return Backbone(
        network,
        architecture="planted",
        license=None,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        input_size=(size, size),
        interpolation="bilinear",
    )


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def failure(candidate: nn.Module, threat: ThreatModel | None = None) -> CandidateError:
    with pytest.raises(CandidateError) as caught:
        check_backbone(candidate, images(), threat or ThreatModel("linf", 8 / 255))
    assert type(caught.value) is CandidateError
    return caught.value


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [8, 12], ids=["own size", "resized"])
def test_a_good_backbone_passes(norm: Norm, size: int):
    check_backbone(backbone(Good(), size), images(), ThreatModel(norm, 4 / 255))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("network", "code"),
    [
        (Raising, "forward_failed"),
        (Unpooled, "no_pooled_features"),
        (OneRowForAll, "no_pooled_features"),
        (NotANumber, "non_finite_features"),
        (Infinite, "non_finite_features"),
        (Dropout, "not_deterministic"),
        (Constant, "collapsed_features"),
        (Centred, "depends_on_batch"),
        (LessTheFirst, "depends_on_batch"),
        (LessTheLast, "depends_on_batch"),
        (NotANumberAlone, "depends_on_batch"),
        (Squeezed, "forward_failed"),
        (Rounding, "masked_gradients"),
        (RoundingOfOneImage, "masked_gradients"),
        (Detached, "masked_gradients"),
        (WithoutGradient, "masked_gradients"),
        (InfiniteSlope, "non_finite_gradient"),
    ],
)
def test_a_planted_failure_is_found(network: type[nn.Module], code: str, norm: Norm):
    eps = 8 / 255 if norm == "linf" else 0.2
    assert failure(backbone(network()), ThreatModel(norm, eps)).code == code


def test_half_precision_depends_on_no_batch():
    check_backbone(backbone(InHalfPrecision()), images(), ThreatModel("linf", 8 / 255))


def test_rounding_so_coarse_that_nothing_moves_is_found():
    class CoarseRounding(Good):
        def forward_features(self, x: Tensor) -> Tensor:
            return super().forward_features(x.round())

    # -1, 0 and 1 after normalisation: no perturbation of this size reaches a half.
    levels = torch.tensor([0.3, 0.5, 0.7])[:, None, None, None].expand(3, 3, 8, 8)
    with pytest.raises(CandidateError) as caught:
        check_backbone(backbone(CoarseRounding()), levels, ThreatModel("linf", 8 / 255))
    assert caught.value.code == "masked_gradients"


def test_dropout_left_in_training_mode_is_found():
    class WithDropout(Good):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            return self.drop(x.mean(dim=(2, 3)))

    candidate = backbone(WithDropout())
    check_backbone(candidate, images(), ThreatModel("linf", 8 / 255))
    candidate.train()
    assert failure(candidate).code == "not_deterministic"


@pytest.mark.parametrize("spoilt", ["weight", "scale"])
def test_a_backbone_whose_numbers_are_spoilt_after_loading_is_found(spoilt: str):
    candidate = backbone(Good())
    if spoilt == "weight":
        candidate.network.conv.weight.fill_(math.nan)
    else:
        candidate.scale.fill_(math.inf)
    assert failure(candidate).code == "non_finite_features"


def test_messages_say_what_was_found():
    error = failure(backbone(Raising()))
    assert "Input height (8) doesn't match model (224)." in error.message
    assert "And more" not in error.message
    assert isinstance(error.__cause__, AssertionError)
    assert "(4, 5, 6, 6)" in failure(backbone(Unpooled())).message
    assert "rounding" in failure(backbone(Rounding())).hint
    assert "found 1 rows of 4 images" in failure(backbone(OneRowForAll())).message


class Scaled(Good):
    """A constant multiple of the features, and a constant beside them."""

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        super().__init__()
        self.size, self.offset = scale, offset

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return super().forward_head(x, pre_logits) * self.size + self.offset


@pytest.mark.parametrize(
    ("network", "eps", "words"),
    [
        (Scaled(1e-30), 8 / 255, "squares of how far features move are below what float32 holds"),
        (Scaled(1.0, 1e5), 1e-5, "are those of the images themselves"),
        (Good(), 1e-30, "random points within linf 1e-30 are those of the images themselves"),
    ],
    ids=["small features", "large offset", "small eps"],
)
def test_why_nothing_moves_is_said(network: nn.Module, eps: float, words: str):
    error = failure(backbone(network), ThreatModel("linf", eps))
    assert error.code == "masked_gradients"
    assert words in error.message
    assert "gradient with respect to the image is zero" not in error.message


def test_features_may_be_small():
    check_backbone(backbone(Scaled(1e-15)), images(), ThreatModel("linf", 8 / 255))


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("planted")])
def test_lack_of_memory_is_not_the_candidates_failure(error: Exception):
    class Hungry(Good):
        def forward_features(self, x: Tensor) -> Tensor:
            raise error

    with pytest.raises(type(error)):
        check_backbone(backbone(Hungry()), images(), ThreatModel("linf", 8 / 255))


@pytest.mark.parametrize(
    "text",
    [
        "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.",
    ],
)
def test_lack_of_the_machines_own_memory_is_called_so(text: str):
    class Hungry(Good):
        def forward_features(self, x: Tensor) -> Tensor:
            raise RuntimeError(text)

    with pytest.raises(RuntimeError) as caught:
        check_backbone(backbone(Hungry()), images(), ThreatModel("linf", 8 / 255))
    assert lacks_memory(caught.value)


def test_the_allocators_own_words_are_understood():
    class Hungry(Good):
        def forward_features(self, x: Tensor) -> Tensor:
            return super().forward_features(
                x.expand(len(x), 3, 8, 8).repeat(1, 1, 1 << 24, 1 << 24)
            )

    with pytest.raises(RuntimeError) as caught:
        check_backbone(backbone(Hungry()), images(), ThreatModel("linf", 8 / 255))
    assert lacks_memory(caught.value)


def test_a_network_that_fails_only_when_differentiated_is_a_failed_candidate():
    class ThroughNumpy(Good):
        def forward_features(self, x: Tensor) -> Tensor:
            return super().forward_features(torch.from_numpy(x.numpy()))

    assert failure(backbone(ThroughNumpy())).code == "forward_failed"


def test_the_checks_leave_the_backbone_as_it_was():
    candidate = backbone(Good())
    before = {name: value.clone() for name, value in candidate.state_dict().items()}
    check_backbone(candidate, images(), ThreatModel("linf", 8 / 255))
    assert all(torch.equal(before[name], value) for name, value in candidate.state_dict().items())
    assert not candidate.training
    assert not any(p.requires_grad or p.grad is not None for p in candidate.parameters())
