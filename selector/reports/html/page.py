"""The page: what is taken from the record, filled into the template, and locked up."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from selector.errors import printable
from selector.norms import format_threat
from selector.objectives import OBJECTIVES
from selector.records import CertifiedCandidate, Ranking, Skipped
from selector.reports.again import whole_command
from selector.reports.html.candidates import DETAILED, details
from selector.reports.html.charts import (
    bounds,
    certificates,
    curves,
    displacement,
    frontier,
    tradeoff,
)
from selector.reports.html.charts.base import KINDS, Chart
from selector.reports.html.columns import columns
from selector.reports.html.run import command_line, facts
from selector.reports.html.standings import LISTED, rows
from selector.reports.html.verdict import verdict

# What a closed script may load and run: itself. Plotly sets style attributes, and draws to images
# where a chart is saved.
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:;"
    " base-uri 'none'; form-action 'none'"
)
# Digits that a screen can show.
_DIGITS = 5


def render(ranking: Ranking) -> str:
    """The whole file: HTML that makes no request."""
    scripts = {"plotly": _script(get_plotlyjs()), "own": _script(_asset("report.js"))}
    sections = _sections(ranking)
    charts = [chart for group in sections.values() for chart in group]
    shown = columns(ranking)
    return (
        _environment()
        .get_template("report.html")
        .render(
            ranking=ranking,
            threat=format_threat(ranking.threat.norm, ranking.threat.eps),
            by=OBJECTIVES[ranking.objective],
            policy=_POLICY.format(scripts=" ".join(map(_hash, scripts.values()))),
            style=Markup(_asset("report.css")),
            scripts=scripts,
            kinds=KINDS,
            verdict=verdict(ranking),
            columns=shown,
            rows=rows(ranking, shown),
            groups=sorted({e.group for e in ranking.ranking}),
            sections=sections,
            figures=_embedded({chart.id: json.loads(chart.figure.to_json()) for chart in charts}),
            certified=[c for c in ranking.certified or () if isinstance(c, CertifiedCandidate)],
            uncertified=[c for c in ranking.certified or () if isinstance(c, Skipped)],
            warned=[(e.name, flag) for e in ranking.ranking for flag in e.warnings],
            details=details(ranking),
            detailed=DETAILED,
            listed=LISTED,
            facts=facts(ranking),
            command=command_line(whole_command(ranking)),
        )
    )


def _sections(ranking: Ranking) -> dict[str, tuple[Chart, ...]]:
    """The charts, by where they stand; none where nothing could be ranked."""
    if not ranking.ranking:
        return {}
    return {
        "tradeoff": (tradeoff.chart(ranking),),
        "curves": curves.charts(ranking),
        "bounds": (bounds.chart(ranking),),
        "displacement": (displacement.means(ranking),),
        "distributions": displacement.distributions(ranking),
        "frontier": (frontier.chart(ranking),),
        "certified": certificates.charts(ranking),
    }


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("selector.reports.html", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["breakable"] = _breakable
    made.filters["together"] = _together
    return made


def _shown(value: Any) -> Any:
    """Text of a record without control characters; what is markup stays."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(text: str) -> Markup:
    """A name that may be broken after its dots, dashes and slashes."""
    return Markup("<wbr>").join(re.split(r"(?<=[./-])", printable(text)))


def _together(title: str) -> Markup:
    """A title that is not broken before its last word, mostly a unit."""
    return Markup("&nbsp;").join(printable(title).rsplit(" ", 1))


def _asset(name: str) -> str:
    return (files("selector.reports.html") / "assets" / name).read_text(encoding="utf-8")


def _script(code: str) -> Markup:
    """Code for a script element; a browser reads line ends as \\n, and so must its hash."""
    if "</script" in code.lower() or "<!--" in code:
        raise ValueError("this script would end its element early")
    return Markup(code.replace("\r\n", "\n"))


def _hash(code: str) -> str:
    digest = hashlib.sha256(code.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _embedded(data: object) -> Markup:
    """JSON that cannot end the element it stands in, with no more digits than can be seen."""
    text = json.dumps(_rounded(data), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _rounded(data: Any) -> Any:
    if isinstance(data, float):
        return float(f"{data:.{_DIGITS}g}")
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    return [_rounded(value) for value in data] if isinstance(data, list) else data
