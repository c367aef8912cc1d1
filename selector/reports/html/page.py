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

from selector.errors import printable, shorten
from selector.norms import format_threat
from selector.records import AnyRanked, AnyRanking, Ranking
from selector.reports.again import whole_command
from selector.reports.html.classification import content as classification
from selector.reports.html.content import Content
from selector.reports.html.details import DETAILED
from selector.reports.html.regression import content as regression
from selector.reports.html.run import command_line
from selector.reports.html.standings import LISTED

# What a closed script may load and run: itself. Plotly sets style attributes, and draws to images
# where a chart is saved.
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:;"
    " base-uri 'none'; form-action 'none'"
)
# Characters of a reason.
_LONGEST = 300
# Digits that a screen can show.
_DIGITS = 5


def render(ranking: AnyRanking) -> str:
    """The whole file: HTML that makes no request."""
    scripts = {"plotly": _script(get_plotlyjs()), "own": _script(_asset("report.js"))}
    content = _content(ranking)
    figures = {chart.id: json.loads(chart.figure.to_json()) for chart in content.figures}
    ranked: tuple[AnyRanked, ...] = ranking.ranking
    return (
        _environment()
        .get_template("report.html")
        .render(
            ranking=ranking,
            content=content,
            threat=format_threat(ranking.threat.norm, ranking.threat.eps),
            policy=_POLICY.format(scripts=" ".join(map(_hash, scripts.values()))),
            style=Markup(_asset("report.css")),
            scripts=scripts,
            groups=sorted({e.group for e in ranked}),
            figures=_embedded(figures),
            warned=[(e.name, flag) for e in ranked for flag in e.warnings],
            detailed=DETAILED,
            listed=LISTED,
            command=command_line(whole_command(ranking)),
        )
    )


def _content(ranking: AnyRanking) -> Content:
    if isinstance(ranking, Ranking):
        return classification.content(ranking)
    return regression.content(ranking)


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
    made.filters["brief"] = _brief
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


def _brief(text: str) -> str:
    """A reason, which somebody may have made long."""
    return shorten(printable(text), _LONGEST)


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
