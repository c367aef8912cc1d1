"""What was measured of one candidate, in the forms that a model's page on the Hub can hold."""

from selector.reports.card.forms import eval_results, model_index, to_yaml
from selector.reports.card.markdown import markdown
from selector.reports.card.merging import README, RESULTS, into_readme, into_results
from selector.reports.card.metrics import Metric, metrics, require_sound

__all__ = [
    "README",
    "RESULTS",
    "Metric",
    "eval_results",
    "into_readme",
    "into_results",
    "markdown",
    "metrics",
    "model_index",
    "require_sound",
    "to_yaml",
]
