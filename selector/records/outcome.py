"""What comes of a candidate, whatever it was measured for."""

from __future__ import annotations

from selector.records.certified import CertifiedCandidate
from selector.records.measured import Evaluation, Skipped, Sweep
from selector.records.regression import RegressionEvaluation

Outcome = Evaluation | Sweep | RegressionEvaluation | CertifiedCandidate | Skipped
