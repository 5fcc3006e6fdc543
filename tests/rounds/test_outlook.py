"""``kedro rounds status`` says what the next labels are expected to bring, and which rule would stop the run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from conftest import Project
from rlmba_pipelines.learning.forecast import fit_curve
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.progress import n_training_labels

SIZES = ("--start-size", "12", "--query-size", "8")


def test_status_forecasts_the_next_batch_from_validation_and_names_the_rule_that_stops_first(
    project: Project, media: Callable[..., Path]
) -> None:
    asked = ("--manifest", str(media()), "--experiment", "a", *SIZES, "--strategy", "random")
    project.drawn = True
    project.ok("rounds", "run", *asked, "--rounds", "1")
    assert "forecast: takes 3 measured rounds" in project.ok("rounds", "status", "--experiment", "a")
    project.ok("rounds", "run", *asked, "--rounds", "3", "--budget", "70")
    status = project.ok("rounds", "status", "--experiment", "a")
    lines = status.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("forecast: "))

    experiment = Experiment.of(project.path, "a")
    stages = ["round_01", "round_02", "round_03", "final"]
    found = [
        json.loads(experiment.path_of(s, "validation_metrics").read_text()) for s in stages
    ]
    counts = [n_training_labels(experiment, s) for s in stages]
    assert counts == [12, 20, 28, 36]
    curve = fit_curve(counts, [m["accuracy"] for m in found], [m["n"] for m in found])
    assert curve is not None
    gain = f"{100 * curve.gain(8).mean:.1f}"
    assert re.match(rf"forecast: the next 8 labels are expected to bring [+±]{gain} points", lines[at])
    # 24 of the 120 samples are the validation split and count: 70 - 24 - 36 = 10 labels are left, 8 and 2
    assert "  the budget of 70 labels is spent with 2 more batches" in lines
