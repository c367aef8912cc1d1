"""The documents selector writes: what was measured, how it ranks, what was left out.

Their JSON Schemas are published as ``selector/*.schema.json``. A field's name says what its number
promises: ``estimated_*`` rests on an attack's displacement and would be a proven bound only if the
attack were perfect; ``attacked_*`` is what a head withstood, an upper estimate of what it can
withstand; ``certified_*`` is proven, with a confidence that stands beside it.
"""

from __future__ import annotations

from selector.records.base import DeviceRecord, Estimate, Record
from selector.records.certified import (
    CertificationCost,
    CertifiedAccuracy,
    CertifiedCandidate,
    CertifiedPerImage,
    SmoothingRecord,
)
from selector.records.comparison import (
    Change,
    ChangeOfChoice,
    ComparedCandidate,
    Comparison,
    Difference,
    Unpaired,
)
from selector.records.document import (
    Certification,
    Choice,
    Curve,
    CurvePoint,
    Eliminated,
    RaceRecord,
    RankedEvaluation,
    Ranking,
    TaskRecord,
    Unsettled,
)
from selector.records.gate import Gate, GateCheck, GateKind
from selector.records.heads import (
    BaselineScores,
    EstimatedRobustness,
    FrontierPoint,
    HeadReport,
)
from selector.records.measured import (
    MASKED,
    SCREENED,
    Cost,
    Diagnostics,
    Evaluation,
    FileRecord,
    Findings,
    Flag,
    Measurement,
    PerImage,
    Provenance,
    Representation,
    Screened,
    Sensitivity,
    Skipped,
    Sweep,
)
from selector.records.outcome import Outcome
from selector.records.plan import Plan, PlannedCandidate, PlannedRace
from selector.records.regression import (
    EstimatedErrors,
    RankedRegression,
    RegressionChoice,
    RegressionEvaluation,
    RegressionFindings,
    RegressionHead,
    RegressionPerImage,
    RegressionPoint,
    RegressionRanking,
    RegressionTaskRecord,
    TargetColumn,
)
from selector.records.run import (
    ERROR_OBJECTIVE_NAMES,
    OBJECTIVE_NAMES,
    SCHEMA_VERSION,
    ConfiguredOption,
    ImagesRecord,
    LockRecord,
    ObjectiveKind,
    ProtocolRecord,
    RankingRecord,
    RunRecord,
    ThreatRecord,
)

AnyRanking = Ranking | RegressionRanking
AnyRanked = RankedEvaluation | RankedRegression

__all__ = [
    "ERROR_OBJECTIVE_NAMES",
    "MASKED",
    "OBJECTIVE_NAMES",
    "SCHEMA_VERSION",
    "SCREENED",
    "AnyRanked",
    "AnyRanking",
    "BaselineScores",
    "Certification",
    "CertificationCost",
    "CertifiedAccuracy",
    "CertifiedCandidate",
    "CertifiedPerImage",
    "Change",
    "ChangeOfChoice",
    "Choice",
    "ComparedCandidate",
    "Comparison",
    "ConfiguredOption",
    "Cost",
    "Curve",
    "CurvePoint",
    "DeviceRecord",
    "Diagnostics",
    "Difference",
    "Eliminated",
    "Estimate",
    "EstimatedErrors",
    "EstimatedRobustness",
    "Evaluation",
    "FileRecord",
    "Findings",
    "Flag",
    "FrontierPoint",
    "Gate",
    "GateCheck",
    "GateKind",
    "HeadReport",
    "ImagesRecord",
    "LockRecord",
    "Measurement",
    "ObjectiveKind",
    "Outcome",
    "PerImage",
    "Plan",
    "PlannedCandidate",
    "PlannedRace",
    "ProtocolRecord",
    "Provenance",
    "RaceRecord",
    "RankedEvaluation",
    "RankedRegression",
    "Ranking",
    "RankingRecord",
    "Record",
    "RegressionChoice",
    "RegressionEvaluation",
    "RegressionFindings",
    "RegressionHead",
    "RegressionPerImage",
    "RegressionPoint",
    "RegressionRanking",
    "RegressionTaskRecord",
    "Representation",
    "RunRecord",
    "Screened",
    "Sensitivity",
    "Skipped",
    "SmoothingRecord",
    "Sweep",
    "TargetColumn",
    "TaskRecord",
    "ThreatRecord",
    "Unpaired",
    "Unsettled",
]
