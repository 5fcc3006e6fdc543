"""Real learning curves for tests/learning/test_forecast.py, into tests/golden/learning_curves.json (some ten minutes).

Forty runs in memory on the committed data (experiment ``bench``, which ``make bench`` prepares): random and herding,
seeds 100-119, eight rounds of 100, 150 or 200 labels. Of every round: training labels, validation and test accuracy.
"""

from __future__ import annotations

import json

from curves import ROOT, prepared_task, with_changes
from rlmba_pipelines.simulation.tables import TRAINING

FILE = ROOT / "tests" / "golden" / "learning_curves.json"
STRATEGIES, SEEDS, ROUNDS = ("random", "herding"), range(100, 120), 8
QUERY_SIZES = (100, 150, 200)


def main() -> None:
    task, _ = prepared_task()
    curves = []
    for seed in SEEDS:
        size = QUERY_SIZES[seed % len(QUERY_SIZES)]
        for strategy in STRATEGIES:
            chosen = {"strategy": strategy, "seed": seed, "rounds": ROUNDS, "start_size": size, "query_size": size}
            measured = [r for r in with_changes({"rounds": chosen}) if r.validation]
            curves.append(
                {
                    "strategy": strategy,
                    "seed": seed,
                    "labels": [int((r.labels["purpose"] == TRAINING).sum()) for r in measured],
                    "validation": [round(r.validation["accuracy"], 6) for r in measured],
                    "test": [round(r.test["accuracy"], 6) for r in measured],
                }
            )
            print(strategy, seed, curves[-1]["test"], flush=True)
    about = {"n_validation": len(task.validation), "n_test": len(task.test), "made_by": "scripts/past_curves.py"}
    rows = ",\n".join(json.dumps(curve) for curve in curves)
    FILE.write_text(f'{{"about": {json.dumps(about)},\n"curves": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
