"""Records from few arguments, for tests of what is done with records."""

from __future__ import annotations

from collections.abc import Sequence

from selector.advice import choose
from selector.objectives import OBJECTIVES
from selector.radii import Smoothing
from selector.ranking import rank
from selector.records import (
    BaselineScores,
    CertificationCost,
    CertifiedAccuracy,
    CertifiedCandidate,
    CertifiedPerImage,
    Cost,
    DeviceRecord,
    Diagnostics,
    Estimate,
    EstimatedRobustness,
    Evaluation,
    FileRecord,
    Flag,
    FrontierPoint,
    HeadReport,
    PerImage,
    ProtocolRecord,
    Provenance,
    Ranking,
    RankingRecord,
    Sensitivity,
    Skipped,
    SmoothingRecord,
    TaskRecord,
    ThreatRecord,
)


def right(correct: int, images: int = 100) -> tuple[bool, ...]:
    """The first ``correct`` of some images are classified correctly."""
    return (True,) * correct + (False,) * (images - correct)


def evaluation(
    name: str = "a",
    robust: Sequence[bool] = right(50),
    *,
    clean: Sequence[bool] | None = None,
    clean_head: Sequence[bool] | None = None,
    attacked: Sequence[bool] | None = None,
    tolerance: float = 0.5,
    smooth: Sequence[float] | None = None,
    worst_case_loss: Sequence[float] | None = None,
    relative: float = 0.2,
    parameters: int = 1000,
    model: str | None = None,
    vacuous: bool = False,
    flags: Sequence[str] = (),
    messages: Sequence[str] | None = None,
    diagnostics: Diagnostics | None = None,
) -> Evaluation:
    """One candidate.

    Args:
        name: what tables call it.
        robust: per image, the criterion on A∘g holds for the head.
        clean: per image, the ordinary probe is right; every image if not given.
        clean_head: per image, the head is right; ``clean`` if not given.
        attacked: per image, the head withstood; ``robust`` if not given.
        tolerance: share of the attacks that the ordinary probe survives; decides between equals.
        smooth: per image, margin / (margin + reach) of the head; as ``robust``, 0.75 or 0.25, if
            not given.
        worst_case_loss: per image, of the bound-optimal head.
        relative: displacement on A∘g in units of the distance between features.
        parameters: of the backbone.
        model: ``local-dir:`` and the name if not given.
        vacuous: its bound says nothing.
        flags: codes of its warnings.
        messages: one for each code.
        diagnostics: harmless if not given.
    """
    n = len(robust)
    clean = right(n, n) if clean is None else clean
    clean_head = clean if clean_head is None else clean_head
    attacked = robust if attacked is None else attacked
    smooth = [0.75 if holds else 0.25 for holds in robust] if smooth is None else smooth
    losses = (1.25,) * n if worst_case_loss is None else tuple(worst_case_loss)
    texts = [f"about {code}" for code in flags] if messages is None else messages
    return Evaluation(
        name=name,
        model=f"local-dir:{name}" if model is None else model,
        provenance=provenance(parameters),
        cost=cost(),
        head=head(clean_head, robust, attacked, smooth=smooth, radius_scale=0.5),
        probe=head(clean, robust, attacked, tolerance, radius_scale=0.0),
        bound_optimal=head(clean_head, robust, attacked, worst_case_loss=losses),
        frontier=tuple(
            FrontierPoint(
                radius_scale=scale,
                l2=0.001,
                validation_attacked_accuracy=0.5,
                clean_accuracy=share(clean_head if scale else clean),
                estimated_robust_accuracy=share(robust),
                attacked_accuracy=share(attacked),
                estimated_worst_case_loss=loss(1.25, n),
            )
            for scale in (0.0, 0.5, 1.0)
        ),
        vacuous=vacuous,
        baselines=BaselineScores(
            knn_accuracy=share(clean), lda_accuracy=share(clean), log_me=0.25, h_score=1.5
        ),
        sensitivity=Sensitivity(mean=loss(0.7, n), relative=0.1),
        task_sensitivity=Sensitivity(mean=loss(0.3, n), relative=relative),
        diagnostics=diagnostics or sound(),
        warnings=tuple(
            Flag(code=code, message=text) for code, text in zip(flags, texts, strict=True)
        ),
        per_image=PerImage(
            probe_correct=tuple(clean),
            clean_correct=tuple(clean_head),
            attacked_correct=tuple(attacked),
            attacked_tolerance=tuple(map(float, attacked)),
            robust_correct=tuple(robust),
            smooth=tuple(smooth),
            worst_case_loss=losses,
            knn_correct=tuple(clean),
            lda_correct=tuple(clean),
        ),
    )


def head(
    clean: Sequence[bool],
    robust: Sequence[bool],
    attacked: Sequence[bool],
    tolerance: float = 0.5,
    *,
    smooth: Sequence[float] = (0.5,),
    worst_case_loss: Sequence[float] = (1.25,),
    radius_scale: float = 1.0,
) -> HeadReport:
    """A head whose accuracies are the shares of the given images."""
    n = len(robust)
    theory = EstimatedRobustness(
        estimated_robust_accuracy=share(robust),
        estimated_tolerance=share([0.5] * n),
        displacement=loss(0.3, n),
        estimated_smooth_accuracy=share(smooth),
        estimated_theorem1_loss=2.5,
        estimated_margin_loss=loss(1.5, n),
        estimated_worst_case_loss=loss(sum(worst_case_loss) / len(worst_case_loss), n),
    )
    return HeadReport(
        l2=0.001,
        radius_scale=radius_scale,
        steepness=4.0,
        validation_loss=1.0,
        clean_accuracy=share(clean),
        clean_loss=loss(0.5, len(clean)),
        attacked_accuracy=share(attacked),
        attacked_loss=loss(0.75, len(attacked)),
        attacked_tolerance=share([tolerance] * n),
        on_representation=theory,
        on_task=theory,
    )


def share(outcomes: Sequence[float]) -> Estimate:
    """The mean of values in [0,1], ten points wide on either side."""
    value = sum(outcomes) / len(outcomes)
    return Estimate(
        value=value, low=max(0.0, value - 0.1), high=min(1.0, value + 0.1), n=len(outcomes)
    )


def loss(value: float, images: int = 100) -> Estimate:
    """A loss, a tenth wide on either side."""
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, n=images)


def sound() -> Diagnostics:
    """Nothing to be warned of."""
    return Diagnostics(
        restart_spread=0.02,
        long_ascents=0.0,
        still_rising=0.1,
        zero_gradient=0.0,
        noise_ratio=0.3,
        noise_wins=0.0,
        search_ratio=0.4,
        search_wins=0.0,
        effective_rank=20.0,
    )


def provenance(parameters: int = 1000) -> Provenance:
    """A backbone from a folder."""
    return Provenance(
        source="local",
        repo=None,
        commit=None,
        files=(FileRecord(name="config.json", size=2, sha256="0" * 64),),
        license="apache-2.0",
        pretraining=None,
        tags=(),
        architecture="resnet10t",
        parameters=parameters,
        input_size=(32, 32),
        feature_dim=48,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        interpolation="bicubic",
    )


def skipped(name: str = "broken", **fields: str | bool) -> Skipped:
    """A candidate that could not be measured."""
    given: dict[str, str | bool] = {
        "name": name,
        "model": f"hf-hub:{name}",
        "code": "keys_mismatch",
        "reason": "the checkpoint does not fit its architecture.",
        "hint": "Export it again.",
        "retryable": False,
    }
    return Skipped.model_validate(given | fields)


def certified(
    name: str = "a",
    radii: Sequence[float] = (0.5, 0.25, 0.0, 0.5),
    correct: Sequence[bool] = (True, True, True, False),
    *,
    at: Sequence[float] = (0.25, 0.5),
) -> CertifiedCandidate:
    """A candidate with a certificate of every image, told at some radii."""
    right = [radius if is_right else 0.0 for radius, is_right in zip(radii, correct, strict=True)]
    return CertifiedCandidate(
        name=name,
        model=f"local-dir:{name}",
        provenance=provenance(),
        smoothing=SmoothingRecord(
            sigma=0.25,
            draws=1000,
            selection_draws=100,
            training_draws=4,
            alpha=0.001,
            largest_radius=Smoothing(0.25, (0.25,)).largest_radius,
            seed=0,
        ),
        l2=0.001,
        validation_loss=0.5,
        noisy_accuracy=share([0.9, 0.8, 0.5, 0.2]),
        smoothed_accuracy=share([radius > 0 for radius in right]),
        abstained=share([radius == 0 for radius in radii]),
        certified_accuracy=tuple(
            CertifiedAccuracy(radius=size, **dict(share([radius >= size for radius in right])))
            for size in at
        ),
        per_image=CertifiedPerImage(radius=tuple(radii), correct=tuple(correct)),
        cost=CertificationCost(
            forward_passes=5200,
            seconds_load=0.5,
            seconds_features=1.0,
            seconds_heads=1.5,
            seconds_votes=7.0,
            batch_size=32,
            peak_process_bytes=700_000_000,
            peak_device_bytes=None,
        ),
    )


def ranking(
    evaluations: Sequence[Evaluation] = (),
    left_out: Sequence[Skipped] = (),
    *,
    objective: str = "attacked",
    **task: str | float | tuple[str, ...],
) -> Ranking:
    """The document of a run; ``task`` replaces fields of its task."""
    ranked = rank(evaluations, seed=0, objective=objective)
    described: dict[str, object] = {
        "name": "plates",
        "source": "/data/plates",
        "classes": ("a", "b", "c"),
        "image_size": 224,
        "train_images": 500,
        "validation_images": 50,
        "test_images": len(evaluations[0].per_image.clean_correct) if evaluations else 100,
        "prior_entropy": 1.0986,
        "constant_accuracy": 0.05,
        "unreadable": (),
        "fingerprint": "f" * 64,
    }
    described |= task
    record = TaskRecord.model_validate(described)
    return Ranking(
        **dict(made(left_out, objective)),
        task=record,
        choice=choose(ranked, "linf 4/255", record.constant_accuracy, objective),
        ranking=ranked,
    )


def made(left_out: Sequence[Skipped] = (), objective: str = "attacked") -> RankingRecord:
    """How a ranking came about."""
    return RankingRecord(
        selector_version="0.1.0",
        created="2026-11-23T08:00:00+00:00",
        command=("selector", "rank"),
        threat=ThreatRecord(norm="linf", eps=4 / 255),
        protocol=ProtocolRecord(
            version=1,
            preset="standard",
            attack="apgd",
            restarts=5,
            steps=20,
            loss_clip=2.2,
            rho=0.05,
            seed=0,
            head="recommended",
        ),
        device=DeviceRecord(type="cpu", name="x86_64"),
        versions={"torch": "2.15.0"},
        objective=objective,
        objective_kind=OBJECTIVES[objective].kind,
        skipped=tuple(left_out),
    )


def cost() -> Cost:
    """Of ten seconds."""
    return Cost(
        forward_passes=1000,
        backward_passes=800,
        seconds_load=0.5,
        seconds_features=1.0,
        seconds_attack=7.0,
        seconds_heads=1.5,
        batch_size=32,
        search_precision="fp32",
        peak_process_bytes=700_000_000,
        peak_device_bytes=None,
    )
