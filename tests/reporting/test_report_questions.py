"""The section on visual questions: each figure beside the best constant answer, and only where it was measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
from demo_report import FACTS, HERDING, RANDOM, curves_of

from rlmba_pipelines.reporting.canvas import NARROW, WIDE
from rlmba_pipelines.reporting.data import ReportData
from rlmba_pipelines.reporting.questions import questions_table, steps_figure, steps_words
from rlmba_pipelines.reporting.report import render_report
from rlmba_pipelines.reporting.svg import themed_svg

MEASURED = {
    "constant": 0.26, "one_step": 0.9, "one_step_constant": 0.31, "relational": 0.5, "relational_constant": 0.37,
    "kind_left_of": 0.55, "kind_left_of_constant": 0.52, "n_kind_left_of": 9,
    "set_unseen": 0.7, "set_unseen_constant": 0.3,
    "set_unseen_relational": 0.4, "set_unseen_shifted": 0.5,
    "set_night": 0.2, "answer_score": 0.61, "chain_valid": 0.8, "hallucination": 0.03,
    "attention_in_region": 0.12, "pointing": np.nan,
}  # fmt: skip
PLAIN = curves_of({"herding": HERDING, "random": RANDOM})


def asked(**measured: float) -> pd.DataFrame:
    """Curves that began at half of these figures."""
    grows = np.where(PLAIN["strategy"] == "herding", np.linspace(0.5, 1, len(HERDING))[PLAIN["stage"]], np.nan)
    stays = {name for name in measured if name.endswith("constant") or name.startswith("n_")}
    kept = {name: value * (1 if name in stays else grows) for name, value in measured.items()}
    return PLAIN.assign(**kept)


def test_every_measure_stands_after_the_first_and_the_last_purchase_beside_the_constant_answer() -> None:
    head, rows = questions_table(asked(**MEASURED), FACTS)
    assert head == ["Share of", "210 labels", "1,210 labels", "best constant answer"]
    assert rows == [
        ["all questions", "41.2 %", "57.3 %", "26.0 %"],
        ["questions of one step", "45.0 %", "90.0 %", "31.0 %"],
        ["of two steps or more", "25.0 %", "50.0 %", "37.0 %"],
        ["kind: left of (9)", "27.5 %", "55.0 %", "52.0 %"],
        ["test set: pairs of color and shape that the pool never shows", "35.0 %", "70.0 %", "30.0 %"],
        ["test set: pairs of color and shape that the pool never shows, two steps or more", "20.0 %", "40.0 %", "–"],
        [
            "test set: pairs of color and shape that the pool never shows, where the answer hangs on it",
            "25.0 %", "50.0 %", "–",
        ],
        ["test set: night", "10.0 %", "20.0 %", "–"],
        ["answers as they are written, by the rule of their data set", "30.5 %", "61.0 %", "–"],
        ["chains of which every step is true", "40.0 %", "80.0 %", "–"],
        ["chains that speak of a thing that is not there", "1.5 %", "3.0 %", "–"],
        ["of the attention on the image, what lies on the answer's region", "6.0 %", "12.0 %", "–"],
    ]


def test_after_one_purchase_there_is_one_column() -> None:
    curves = asked(**MEASURED)
    head, rows = questions_table(curves[curves["stage"] == 0], FACTS)
    assert head == ["Share of", "210 labels", "best constant answer"]
    assert rows[0] == ["all questions", "41.2 %", "26.0 %"]


def test_the_figure_draws_both_kinds_over_their_constants() -> None:
    for size in (WIDE, NARROW):
        axes = steps_figure(asked(**MEASURED), FACTS, size=size).axes[0]
        ends = [round(float(line.get_ydata()[-1]), 6) for line in axes.get_lines()]
        assert ends == [31, 90, 37, 50]
        assert "one step" in themed_svg(axes.figure, "s", "steps")
    assert steps_words(asked(**MEASURED), FACTS).startswith(
        "Of the questions 90.0 % of those with one step and 50.0 % of those with two or more are answered right."
    )


def test_the_page_shows_the_section_only_where_questions_were_measured() -> None:
    page = render_report(ReportData(FACTS, asked(**MEASURED)))
    assert page.count('href="#questions"') == page.count('id="questions"') == 1
    assert "kind: left of" in page
    without_steps = {name: value for name, value in MEASURED.items() if not name.startswith(("one_", "relational"))}
    page = render_report(ReportData(FACTS, asked(**without_steps)))
    assert 'id="questions"' in page
    assert "steps-wide" not in page
    assert "What it can answer" not in render_report(ReportData(FACTS, PLAIN))
