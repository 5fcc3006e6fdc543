"""Try settings of rl_mba on the protocol's tuning seeds, never on those that are reported.

    python scripts/tune.py --sets emoji-70 tux-13 --seeds 8 --arms conf/benchmark/arms.yml

Arms are named parameters, nested like the YAML files, as under ``variants`` of conf/benchmark/protocol.yml; baselines
can run beside them. Runs on file (data/08_reporting/benchmark/tuning) are kept while their parameters stay the same.
Prints every arm minus rl_mba as it is, paired over seeds, on each set and in the mean over sets.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd
import yaml

from rlmba_pipelines.benchmark import tables
from rlmba_pipelines.benchmark.protocol import MAIN, Cell, Protocol
from rlmba_pipelines.benchmark.runs import run_all

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "data" / "08_reporting" / "benchmark" / "tuning"


def tried(
    protocol: Protocol, sets: list[str], condition: str, arms: list[str], n_seeds: int, workers: int
) -> pd.DataFrame:
    """Every arm on the first tuning seeds; one row a measured round."""
    first, last = protocol.seeds.tuning
    seeds = range(first, min(last + 1, first + n_seeds))
    cells = [
        Cell(set=name, condition=condition, strategy=arm, seed=seed)
        for seed in seeds
        for name in sets
        for arm in (protocol.candidate, *arms)
    ]
    return run_all(ROOT, protocol, cells, FOLDER, workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--condition", default=MAIN, help="main, or a control of the protocol")
    parser.add_argument("--arms", type=Path, help="YAML: name -> parameters")
    parser.add_argument("--strategies", nargs="*", default=[], help="baselines to run beside")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    protocol = Protocol.read(ROOT)
    arms = yaml.safe_load(options.arms.read_text()) if options.arms else {}
    protocol = protocol.model_copy(update={"variants": {**protocol.variants, **arms}})
    names = [*arms, *options.strategies]
    values = tables.areas(tried(protocol, options.sets, options.condition, names, options.seeds, options.workers))
    table = tables.comparison(values, protocol.candidate).sort_values(["set", "difference"], ascending=[True, False])
    print(table.drop(columns=["condition", "p_wilcoxon"]).round(3).to_string(index=False))
    for name in names:
        mean, low, high, p = tables.mean_over_sets(values, name, protocol.candidate, options.condition)
        print(f"{name:28s} mean over sets {mean:+.2f} [{low:+.2f}, {high:+.2f}] p = {p:.3f}")


if __name__ == "__main__":
    main()
