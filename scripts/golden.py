"""Golden files for tests/learning/test_goldens.py: what other libraries and plain loops say on small fixed data.

Runs in the environment of the peers (``make bench-selection`` makes it):

    .venv-peers/bin/python scripts/golden.py

A file is written only where every source in it agrees, pick for pick or to 1e-9; nothing of this project is imported,
so that it cannot be its own witness. Which implementations were left out, and why, stands in the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "golden"
DECIMALS = 4  # of the data, which is in the files: nothing depends on a generator

LEFT_OUT = {
    "scikit-activeml Badge": "keeps the origin as a center: the first distances are to it, not to the first pick",
    "scikit-activeml ProbCover": "draws among balls that cover equally many, which many do",
    "scikit-activeml TypiClust": "k of 5 in place of 20, small clusters are not dropped, ties are drawn",
    "small-text BADGE": "clusters embeddings without p - onehot",
    "small-text GreedyCoreset": (
        "counts picks as positions among the unlabeled and looks them up as ids; its function is called with the "
        "unlabeled rows first, where both are the same"
    ),
}

Pool = tuple[np.ndarray, np.ndarray]  # float64[N, D] and labeled rows


def loop_k_center(points_ND: np.ndarray, labeled: np.ndarray, q: int) -> list[int]:
    """Every distance, every pick."""
    centers, picks = labeled.tolist(), list[int]()
    for _ in range(q):
        nearest = np.linalg.norm(points_ND[:, None] - points_ND[None, centers], axis=-1).min(axis=1)
        nearest[centers] = -1
        picks.append(int(nearest.argmax()))
        centers.append(picks[-1])
    return picks


def activeml_k_center(points_ND: np.ndarray, labeled: np.ndarray, q: int) -> list[int]:
    y = np.full(len(points_ND), np.nan)
    y[labeled] = 0
    core_set = import_module("skactiveml.pool").CoreSet(random_state=0)
    return [int(row) for row in core_set.query(points_ND, y, batch_size=q)]


def small_text_k_center(points_ND: np.ndarray, labeled: np.ndarray, q: int) -> list[int]:
    free = np.setdiff1d(np.arange(len(points_ND)), labeled)
    order = np.concatenate([free, labeled])
    greedy = import_module("small_text.query_strategies.coresets").greedy_coreset
    rows = np.arange(len(order))
    picks = greedy(points_ND[order], rows[: len(free)], rows[len(free) :], q, distance_metric="euclidean")
    return order[picks].tolist()


def mundig_k_center(points_ND: np.ndarray, labeled: np.ndarray, q: int) -> list[int]:
    selection = import_module("lightly_mundig").Selection()
    selection.add_diversifying_strategy(points_ND.tolist(), 1.0)
    chosen = selection.run_selection(labeled.tolist(), len(points_ND), len(labeled) + q)
    return [row for row in chosen if row not in set(labeled.tolist())]


K_CENTER: dict[str, Callable[[np.ndarray, np.ndarray, int], list[int]]] = {
    "plain loop": loop_k_center,
    "scikit-activeml CoreSet": activeml_k_center,
    "small-text greedy_coreset": small_text_k_center,
    "lightly-mundig diversifying": mundig_k_center,
}


def k_center_file() -> dict[str, Any]:
    cases = []
    for seed, (n, width, n_labeled, q) in enumerate(((60, 4, 3, 20), (90, 2, 1, 30), (50, 12, 10, 40))):
        rng = np.random.default_rng(seed)
        points_ND = np.round(rng.normal(size=(n, width)) * rng.choice([0.3, 1, 3], size=(n, 1)), DECIMALS)
        labeled = np.sort(rng.permutation(n)[:n_labeled])
        picks = agreed(f"k-center, case {seed}", {name: f(points_ND, labeled, q) for name, f in K_CENTER.items()})
        cases.append({"points": points_ND.tolist(), "labeled": labeled.tolist(), "picks": picks})
    return {"agree_pick_for_pick": [*K_CENTER], "cases": cases}


def loop_max_herding(points_ND: np.ndarray, labeled: np.ndarray, q: int) -> list[int]:
    """Over the unlabeled, the largest exp(-distance²) to what is labeled or chosen, summed; every sum anew."""
    unit_ND = points_ND / np.linalg.norm(points_ND, axis=1, keepdims=True)
    similarity_NN = np.exp(-np.square(unit_ND[:, None] - unit_ND[None]).sum(axis=-1))
    targets = np.setdiff1d(np.arange(len(points_ND)), labeled)
    picks = list[int]()
    for _ in range(q):
        centers = [*labeled.tolist(), *picks]
        worth = {r: similarity_NN[targets][:, [*centers, r]].max(axis=1).sum() for r in targets if r not in picks}
        picks.append(int(max(worth, key=lambda row: worth[row])))
    return picks


def activeml_max_herding(points_ND: np.ndarray, labeled: np.ndarray, q: int) -> list[int]:
    y = np.full(len(points_ND), np.nan)
    y[labeled] = 0
    herding = import_module("skactiveml.pool").MaxHerding(metric_dict={"gamma": 1.0}, random_state=0)
    return [int(row) for row in herding.query(points_ND, y, batch_size=q)]


MAX_HERDING: dict[str, Callable[[np.ndarray, np.ndarray, int], list[int]]] = {
    "plain loop": loop_max_herding,
    "scikit-activeml MaxHerding, gamma 1": activeml_max_herding,
}


def max_herding_file() -> dict[str, Any]:
    """Few picks: later two samples may be each other's only neighbors, which ties them exactly."""
    cases = []
    for seed, (n, width, n_labeled, q) in enumerate(((60, 4, 3, 13), (50, 8, 1, 12)), start=10):
        rng = np.random.default_rng(seed)
        points_ND = np.round(rng.normal(size=(n, width)), DECIMALS)
        labeled = np.sort(rng.permutation(n)[:n_labeled])
        picks = agreed(f"max_herding, case {seed}", {name: f(points_ND, labeled, q) for name, f in MAX_HERDING.items()})
        cases.append({"points": points_ND.tolist(), "labeled": labeled.tolist(), "picks": picks})
    return {"agree_pick_for_pick": [*MAX_HERDING], "cases": cases}


def scores_file() -> dict[str, Any]:
    rng = np.random.default_rng(7)
    logits_NKC = 2 * rng.normal(size=(12, 1, 5)) + rng.normal(size=(12, 4, 5))
    draws_NKC = np.round(np.exp(logits_NKC) / np.exp(logits_NKC).sum(axis=-1, keepdims=True), DECIMALS)
    draws_NKC[..., -1] += 1 - draws_NKC.sum(axis=-1)
    draws_NKC = np.round(draws_NKC, DECIMALS)
    p_NC = draws_NKC.mean(axis=1)
    modal = import_module("modAL.uncertainty")
    scored = import_module("skactiveml.pool").uncertainty_scores
    bald = import_module("small_text.query_strategies.bayesian")._bald
    entropy = import_module("scipy.stats").entropy
    sources = {
        "margin": {
            "sorted": 1 - (np.sort(p_NC)[:, -1] - np.sort(p_NC)[:, -2]),
            "modAL": 1 - modal._proba_margin(p_NC),
            "scikit-activeml": scored(p_NC, method="margin_sampling"),
        },
        "least_confidence": {
            "sorted": 1 - np.sort(p_NC)[:, -1],
            "modAL": modal._proba_uncertainty(p_NC),
            "scikit-activeml": scored(p_NC, method="least_confident"),
        },
        "entropy": {
            "loop": np.array([-sum(p * np.log(p) for p in row if p > 0) for row in p_NC]),
            "modAL": modal._proba_entropy(p_NC),
            "scikit-activeml": scored(p_NC, method="entropy"),
        },
        "bald": {
            "loop": np.array([np.mean([entropy(q, p) for q in rows]) for rows, p in zip(draws_NKC, p_NC, strict=True)]),
            "small-text, in nats, without its 1e-8 in the logarithm": bald(draws_NKC, eps=0) * np.log(2),
        },
    }
    values = {name: agreed(name, {s: v.tolist() for s, v in by.items()}) for name, by in sources.items()}
    return {"agree_to": 1e-9, "sources": {k: [*v] for k, v in sources.items()}, "draws": draws_NKC.tolist(), **values}


def agreed(what: str, answers: dict[str, list[Any]]) -> list[Any]:
    """The answer that all give.

    Raises:
        SystemExit: they do not agree.
    """
    first = next(iter(answers.values()))
    for name, answer in answers.items():
        if len(answer) != len(first) or not np.allclose(answer, first, rtol=0, atol=1e-9):
            raise SystemExit(f"{what}: {name} does not agree:\n{answer}\n{first}")
    return first


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    packages = ("scikit-activeml", "small-text", "modAL-python", "lightly-mundig", "numpy", "scipy")
    about = {
        "written_by": "scripts/golden.py",
        "versions": {p: version(p) for p in packages},
        "left_out": LEFT_OUT,
    }
    for name, content in (
        ("k_center", k_center_file()),
        ("max_herding", max_herding_file()),
        ("scores", scores_file()),
    ):
        text = json.dumps(about | content, indent=1, ensure_ascii=False)
        lines = text.split("\n")
        (FOLDER / f"{name}.json").write_text(compact(lines) + "\n", encoding="utf-8")
        print(f"wrote {name}.json")


def compact(lines: list[str]) -> str:
    """Numbers of one list on one line."""
    out = [lines[0]]
    for line in lines[1:]:
        word, before = line.strip(), out[-1].rstrip()
        number = word.rstrip(",").lstrip("-").replace(".", "").replace("e-", "").isdigit()
        joins = before[-1] in "[," if number else word in ("]", "],") and before[-1].isdigit()
        if joins and len(before) + len(word) < 118:
            out[-1] = before + (" " if before[-1] == "," else "") + word
        else:
            out.append(line)
    return "\n".join(out)


if __name__ == "__main__":
    main()
