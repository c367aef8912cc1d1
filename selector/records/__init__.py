"""The documents selector writes: what was measured, how it ranks, what was left out.

Their JSON Schema is published as ``selector/ranking.schema.json``. A field's name says what its
number promises: ``estimated_*`` rests on an attack's displacement and would be a proven bound only
if the attack were perfect; ``attacked_*`` is what a head withstood, an upper estimate of what it
can withstand. Nothing here is certified.
"""

from __future__ import annotations

from selector.records.document import (
    SCHEMA_VERSION,
    Choice,
    DeviceRecord,
    Eliminated,
    LockRecord,
    ProtocolRecord,
    RaceRecord,
    RankedEvaluation,
    Ranking,
    TaskRecord,
    ThreatRecord,
    Unsettled,
)
from selector.records.measured import (
    BaselineScores,
    Cost,
    Diagnostics,
    Estimate,
    EstimatedRobustness,
    Evaluation,
    FileRecord,
    Findings,
    Flag,
    HeadReport,
    Outcome,
    PerImage,
    Provenance,
    Record,
    Screened,
    Sensitivity,
    Skipped,
)
from selector.records.plan import Plan, PlannedCandidate, PlannedRace

__all__ = [
    "SCHEMA_VERSION",
    "BaselineScores",
    "Choice",
    "Cost",
    "DeviceRecord",
    "Diagnostics",
    "Eliminated",
    "Estimate",
    "EstimatedRobustness",
    "Evaluation",
    "FileRecord",
    "Findings",
    "Flag",
    "HeadReport",
    "LockRecord",
    "Outcome",
    "PerImage",
    "Plan",
    "PlannedCandidate",
    "PlannedRace",
    "ProtocolRecord",
    "Provenance",
    "RaceRecord",
    "RankedEvaluation",
    "Ranking",
    "Record",
    "Screened",
    "Sensitivity",
    "Skipped",
    "TaskRecord",
    "ThreatRecord",
    "Unsettled",
]
