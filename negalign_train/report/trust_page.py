"""The page of ``negalign judge compare``: how far each judge follows the readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from negalign_train.report.charts import IntervalChart, interval_chart

_TEMPLATE = "trust.html.j2"
MEASURES = ("kappa", "spearman", "pairwise", "calibration_error", "bias")


def render_trust_page(trust: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """The page as HTML; it holds no report text.

    Args:
        trust: the object ``negalign judge compare --json`` prints (``negalign.trust/1``).
        titles: title of each of its agreement keys (R1 to R9 and S), in the order shown.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "words": lambda name: name.replace("_", " "),
        "estimate": format_estimate,
    }
    sections = [_section(trust, key, title) for key, title in titles.items()]
    return environment.get_template(_TEMPLATE).render(
        trust=trust, sections=sections, measures=MEASURES
    )


def _section(trust: Mapping[str, Any], key: str, title: str) -> dict[str, Any]:
    first = trust["judges"][0]["agreement"][key]
    return {
        "id": key,
        "title": title,
        "positive": first["num_positive"],
        "num_examples": first["num_examples"],
        "chart": _chart(trust, key),
    }


def _chart(trust: Mapping[str, Any], key: str) -> IntervalChart | None:
    """Spearman's correlation of every judge that has one; None where none has."""
    rows = []
    for judge in trust["judges"]:
        measured = judge["agreement"][key]["spearman"]
        if measured["value"] is not None and measured["low"] is not None:
            interval = {
                "low": measured["low"],
                "estimate": measured["value"],
                "high": measured["high"],
            }
            rows.append((judge["spec"], "judge", interval))
    return interval_chart(rows)


def format_estimate(measured: Mapping[str, float | None]) -> str:
    """A measure with its interval; a dash where the data cannot tell."""
    if measured["value"] is None:
        return "–"
    if measured["low"] is None:
        return f"{measured['value']:.2f}"
    return f"{measured['value']:.2f} [{measured['low']:.2f}, {measured['high']:.2f}]"
