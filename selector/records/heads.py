"""Records of linear heads: what they were fitted with, and what came of them on test images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from selector.records.base import Estimate, Record, Share


class EstimatedRobustness(Record):
    """What the theorems give when fed with what the attacks attained.

    The *reach* of a class is what it can gain on the label, at most: on g ||W_j - W_y||_2 times
    displacement, on A∘g that or what the shape of the image grants, whichever is less.
    """

    displacement: Annotated[Estimate, Field(description="mean attained, in units of features")]
    estimated_robust_accuracy: Annotated[
        Share, Field(description="correct, and every margin above its class's reach: Theorem 2")
    ]
    estimated_tolerance: Annotated[
        Estimate, Field(description="mean of the least min(1, margin / reach), 0 where wrong")
    ]
    estimated_smooth_accuracy: Annotated[
        Estimate, Field(description="mean of the least margin / (margin + reach), 0 where wrong")
    ]
    estimated_theorem1_loss: Annotated[
        float, Field(description="Theorem 1, clipped loss, finite-sample term included")
    ]
    estimated_margin_loss: Annotated[Estimate, Field(description="CE + the largest reach")]
    estimated_worst_case_loss: Annotated[
        Estimate, Field(description="log(1 + sum_j exp(m_j + reach_j)), m_j = f_j - f_y")
    ]


class HeadReport(Record):
    """One linear head on the test images."""

    l2: Annotated[float, Field(description="regularisation, chosen on validation images")]
    radius_scale: Annotated[
        float, Field(description="share of the displacement it was fitted against; 0: ordinary")
    ]
    steepness: Annotated[
        float, Field(description="C1 L(W): nats per unit of displacement in Theorem 1")
    ]
    validation_loss: Annotated[
        float,
        Field(
            description="mean estimated worst-case loss on validation images, by displacement where"
            " heads are fitted; of the ordinary probe the clean loss"
        ),
    ]
    clean_accuracy: Share
    clean_loss: Estimate
    attacked_accuracy: Share
    attacked_loss: Estimate
    attacked_tolerance: Annotated[
        Estimate,
        Field(
            description="mean over images of the least margin / attained s_j of its class pairs,"
            " 1 at most, 0 where wrong: the share of the attacks that the decision survives"
        ),
    ]
    on_representation: Annotated[EstimatedRobustness, Field(description="displacement on g")]
    on_task: Annotated[EstimatedRobustness, Field(description="on A∘g, in the images' own shape")]


class FrontierPoint(Record):
    """One head between the ordinary probe and the bound-optimal head, on the test images.

    On these it was not attacked itself: its attacked accuracy is over the points that attacks on
    other heads and on displacement found, so it flatters more than theirs.
    """

    radius_scale: float
    l2: float
    validation_attacked_accuracy: Annotated[
        float,
        Field(description="on validation images, class pairs attacked; the best is recommended"),
    ]
    clean_accuracy: Share
    estimated_robust_accuracy: Annotated[Share, Field(description="criterion on A∘g")]
    attacked_accuracy: Share
    estimated_worst_case_loss: Annotated[Estimate, Field(description="on A∘g")]


class BaselineScores(Record):
    """What others rank by: how well clean features tell classes apart, nothing attacked.

    Computed from at most 5,000 training images, the same for every candidate.
    """

    knn_accuracy: Annotated[
        Share,
        Field(
            description="share of test images that at most five nearest training images, by"
            " cosine, name correctly"
        ),
    ]
    lda_accuracy: Annotated[
        Share | None,
        Field(
            description="share of test images that linear discriminant analysis of training"
            " images names correctly; null where features vary too little within classes, or"
            " classes have too few images"
        ),
    ]
    log_me: Annotated[
        float | None,
        Field(
            description="LogME of training images: log evidence per image, in nats, of a linear"
            " model of each class; depends on the unit of the features; null where all are zero"
        ),
    ]
    h_score: Annotated[
        float | None,
        Field(
            description="H-score of training images, Ledoit-Wolf covariance: share of variance"
            " that is between classes, summed over directions; null where they have no"
            " covariance to speak of, as when features are constant"
        ),
    ]
