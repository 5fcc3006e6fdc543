"""The report: one HTML file that needs nothing but a browser.

Everything that comes from data is escaped by the templates; a content security policy refuses every request and every
script but ours, so that even a mistake here could not make a sample's text run.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from rlmba_pipelines.reporting import figures, questions, views
from rlmba_pipelines.reporting.canvas import HALF, NARROW, WIDE, Size
from rlmba_pipelines.reporting.data import Facts, ReportData, curve_of, known_modalities
from rlmba_pipelines.reporting.headline import caveat, headline, percent
from rlmba_pipelines.reporting.outlook import forecast_of
from rlmba_pipelines.reporting.palette import DARK, LIGHT
from rlmba_pipelines.reporting.svg import themed_svg
from rlmba_pipelines.reporting.words import GLOSSARY, PEOPLE_SAY, listed, term_name

TEMPLATES = Path(__file__).parent / "templates"


def render_report(data: ReportData) -> str:
    """The whole page. The same data gives the same bytes."""
    curves, facts = data.curves, data.facts
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["keep"] = _keep_units
    has_curve = not curve_of(curves, facts.strategy).empty
    return environment.get_template("report.html.j2").render(
        facts=facts,
        headline=headline(curves, facts),
        caveat=caveat(curves, facts),
        tiles=views.tiles(curves, facts),
        curve=_picture("curve", "", "", figures.learning_curve, curves, facts, WIDE) if has_curve else None,
        rounds=views.round_table(curves, facts),
        forecast=_forecast_picture(curves, facts),
        questions=questions.questions_table(curves, facts),
        steps=_steps_picture(curves, facts),
        pictures=_modality_pictures(curves, facts),
        batches=views.batches(data),
        annotators=views.annotator_rows(facts),
        quarantine=views.quarantine_table(data.quarantine),
        glossary=[(term_name(name), meaning) for name, meaning in GLOSSARY.items()],
        modalities=listed([PEOPLE_SAY.get(m, m) for m in facts.modalities]),
        light=LIGHT,
        dark=DARK,
        script=Markup(script),  # ours
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@dataclass(frozen=True)
class Picture:
    """One chart, drawn for wide and for narrow screens."""

    name: str
    title: str
    words: str
    wide: Markup
    narrow: Markup


def _picture(
    name: str,
    title: str,
    words: str,
    draw: Callable[..., Figure],
    curves: pd.DataFrame,
    facts: Facts,
    size: Size = HALF,
) -> Picture:
    description = f"{title}. {words}" if title else f"Learning curve. {_curve_in_words(curves, facts)}"
    wide, narrow = (
        themed_svg(draw(curves, facts, size=shape), f"{name}-{kind}", description)
        for kind, shape in (("wide", size), ("narrow", NARROW))
    )
    return Picture(name, title, words, wide, narrow)


def _curve_in_words(curves: pd.DataFrame, facts: Facts) -> str:
    """The learning curve for those who hear the page."""
    sentences = []
    for name in (facts.strategy, facts.reference):
        curve = curve_of(curves, name)
        pairs = zip(curve["accuracy"], curve["labels"], strict=True)
        stages = [f"{percent(accuracy)} with {labels:,.0f}" for accuracy, labels in pairs]
        if stages:
            sentences.append(f"Accuracy of {name} by labels: {', '.join(stages)}.")
    return " ".join(sentences)


def _forecast_picture(curves: pd.DataFrame, facts: Facts) -> Picture | None:
    """The curve carried on, where there is enough of it and something left to buy."""
    if not facts.next_labels or forecast_of(curve_of(curves, facts.strategy)) is None:
        return None
    return _picture(
        "forecast", "What more labels would bring", facts.forecast, figures.forecast, curves, facts, WIDE
    )


def _steps_picture(curves: pd.DataFrame, facts: Facts) -> Picture | None:
    if not questions.has_steps(curves, facts):
        return None
    words = questions.steps_words(curves, facts)
    return _picture("steps", "What it can answer", words, questions.steps_figure, curves, facts, WIDE)


def _modality_pictures(curves: pd.DataFrame, facts: Facts) -> list[Picture]:
    """Charts that have something to show: modalities are compared where there are several."""
    curve = curve_of(curves, facts.strategy)
    candidates = (
        ("accuracy", "How far each modality gets alone", figures.modality_accuracy),
        ("shapley", "Who contributes", figures.modality_shares),
        ("weight", "How much each counts", figures.modality_weights),
    )
    shown = [
        _picture(column, title, views.modality_words(curves, facts, column), draw, curves, facts)
        for column, title, draw in candidates
        if len(known_modalities(curve, column, facts.modalities)) > 1
    ]
    if curve["ece"].notna().any():
        words = "How far its confidence is from the truth: 0 means that of the guesses it gives 70 %, 70 % are right."
        shown.append(
            _picture("calibration", "Can its confidence be trusted", words, figures.calibration, curves, facts)
        )
    return shown


def _keep_units(words: str) -> str:
    """A number stays on one line with its unit."""
    words = re.sub(r"(?<=\d) (?=(?:%|labels|points|samples)(?:\W|$))", "\u00a0", words)
    return words.replace("(95\u00a0% ", "(95\u00a0%\u00a0")
