"""``make science``: pictures of the ideas, into docs/figures: terms on a toy, weights over rounds, selections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from curves import ROOT, prepare, prepared_task
from rlmba_pipelines import select
from rlmba_pipelines.config import BalanceConfig, FusionConfig, Parameters, RoundsConfig
from rlmba_pipelines.learning import evidence
from rlmba_pipelines.learning.balance import modality_weights
from rlmba_pipelines.simulation import simulate
from rlmba_pipelines.simulation.synthetic import Atom, World, synthetic_task

FIGURES = ROOT / "docs" / "figures"
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")  # Okabe & Ito: told apart by everybody
MARKERS = ("o", "s", "^", "D", "v")


def toy_evidence(x: np.ndarray) -> np.ndarray:
    """float64[N, 2]: what one modality knows at x: class A left, class B right, most where it has seen data (±1.2)."""
    seen = 30 * np.exp(-((np.abs(x) - 1.2) ** 2) / 0.5)
    right = 1 / (1 + np.exp(-4 * x))
    return np.stack([seen * (1 - right), seen * right], axis=1)


def draw_terms(path: Path) -> None:
    """Six terms over the plane that two modalities span: they agree, contradict each other, or know nothing."""
    axis = np.linspace(-3, 3, 121)
    image, text = (grid.ravel() for grid in np.meshgrid(axis, axis))
    opinions_NMC = np.stack([toy_evidence(image), toy_evidence(text)], axis=1)
    present_NM = np.ones((len(image), 2), dtype=bool)
    fused_NC = evidence.weighted_average(opinions_NMC, present_NM)
    panels = {
        "published U: variance": evidence.uncertainty(fused_NC),
        "vacuity: ignorance": evidence.vacuity(fused_NC),
        "dissonance: evidence for both": evidence.dissonance(fused_NC),
        "conflict: modalities disagree": evidence.conflict(opinions_NMC, present_NM),
        "mutual information": evidence.mutual_information(fused_NC),
        "entropy of the mean": evidence.entropy(evidence.expected_probabilities(fused_NC)),
    }
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 7), sharex=True, sharey=True, layout="constrained")
    for place, (title, values_N) in zip(axes.flat, panels.items(), strict=True):
        shade = place.imshow(values_N.reshape(121, 121), origin="lower", extent=(-3, 3, -3, 3), cmap="cividis")
        place.set_title(title, fontsize=10)
        for name, at in {"agree": (1.2, 1.2), "conflict": (-1.2, 1.2), "ignorance": (2.6, -2.6)}.items():
            box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
            place.annotate(name, at, ha="center", va="center", fontsize=7, bbox=box)
        figure.colorbar(shade, ax=place, shrink=0.8)
    figure.supxlabel("what the image shows (left: class A, right: class B)")
    figure.supylabel("what the text says")
    save(figure, path)


def draw_selections(path: Path) -> None:
    """What the published rule and ours ask for in one pool: four groups, one of them small and in doubt."""
    rng = np.random.default_rng(0)
    centers, sizes = ((-2.0, -1.5), (2.0, -1.5), (0.0, 1.2), (3.2, 3.0)), (250, 250, 150, 50)
    points = np.concatenate([rng.normal(c, 0.7, (n, 2)) for c, n in zip(centers, sizes, strict=True)])
    labeled = rng.choice(len(points), 12, replace=False)

    def lifted(x_ND: np.ndarray) -> np.ndarray:
        """Random Fourier features: all of one length, as near as the points are (encoders' features are like that)."""
        waves = np.random.default_rng(1).normal(0, 0.7, (x_ND.shape[1], 64))
        return np.concatenate([np.cos(x_ND @ waves), np.sin(x_ND @ waves)], axis=1)

    def two_classes(x: np.ndarray) -> np.ndarray:
        right = 1 / (1 + np.exp(-1.5 * x))
        return np.stack([1 - right, right], axis=1)

    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.6), sharex=True, sharey=True, layout="constrained")
    titles = {
        "rl_mba_published": "published: most uncertain and isolated, drawn",
        "herding": "ours: covers what is in doubt",
    }
    for place, (strategy, title) in zip(axes, titles.items(), strict=True):
        batch = select(
            strategy,
            features={"image": lifted(points[:, :1]), "text": lifted(points[:, 1:])},
            probabilities=two_classes(points.sum(axis=1)),
            embeddings=lifted(points),
            unimodal_probabilities={"image": two_classes(points[:, 0]), "text": two_classes(points[:, 1])},
            labeled_ids=labeled,
            query_size=30,
            rng=0,
        )
        place.scatter(*points.T, s=8, color="#999999", label="pool")
        place.scatter(*points[labeled].T, s=40, marker="X", color="black", label="labeled")
        asked = points[batch.sample_ids]
        place.scatter(*asked.T, s=36, facecolor="none", edgecolor=COLORS[0], linewidth=1.6, label="asked")
        place.axline((0, 0), slope=-1, color=COLORS[1], linewidth=1, linestyle="--", label="boundary of the model")
        place.set_title(title, fontsize=10)
    axes[0].legend(fontsize=8, loc="upper left")
    save(figure, path)


def draw_weights(path: Path) -> None:
    """Modality weights over the rounds on the committed data, for each prior of AMCB."""
    task, oracle = prepared_task()
    priors = ("shapley", "published", "uniform")
    figure, axes = plt.subplots(1, len(priors), figsize=(10.5, 3.6), sharey=True, layout="constrained")
    for place, prior in zip(axes, priors, strict=True):
        balance = task.parameters.balance.model_copy(update={"prior": prior})
        asked = replace(task, parameters=task.parameters.model_copy(update={"balance": balance}))
        weights_RM = np.array([result.state.weights_M for result in simulate(asked, oracle.label)][:-1])
        plot_weights(place, weights_RM, task.features.modalities, 1.0)
        place.set_title(f"balance.prior: {prior}", fontsize=10)
    axes[0].set_ylabel("weight")
    axes[0].legend(fontsize=8)
    save(figure, path)


def draw_known_weights(path: Path) -> None:
    """Modality weights over the rounds where the right ones are known: unique, redundant, synergistic, none."""
    world = World(
        ("unique + shared", "shared", "pair, first", "pair, second", "noise"),
        (
            Atom(0.14, ("unique + shared",)),
            Atom(0.06, ("unique + shared", "shared")),
            Atom(0.16, ("pair, first", "pair, second"), "both"),
        ),
    )
    learner = FusionConfig(
        width=16, dropout=0, modality_dropout=0.2, learning_rate=0.05, weight_decay=0, epochs=16, train_batch_size=128
    )
    rounds = RoundsConfig(rounds=6, start_size=600, query_size=200, start_strategy="random", strategy="random")
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), sharey=True, layout="constrained")
    for place, prior in zip(axes, ("shapley", "published"), strict=True):
        balance = BalanceConfig.model_validate({"prior": prior, "temperature": 1.0 if prior == "shapley" else 0.1})
        parameters = Parameters(rounds=rounds, fusion=learner, balance=balance)
        task, answer = synthetic_task(
            world, np.random.default_rng(0), n_pool=1800, n_validation=2000, parameters=parameters
        )
        weights_RM = np.array([result.state.weights_M for result in simulate(task, answer)][:-1])
        right_M = modality_weights(world.contributions(), floor=balance.floor)
        plot_weights(place, weights_RM, world.modalities, 0.7)
        for m in range(len(right_M)):
            place.axhline(right_M[m], color=COLORS[m], linewidth=1, linestyle=("--", "--", "--", ":", "--")[m])
        place.set_title(f"balance.prior: {prior} (lines across: right weights)", fontsize=10)
    axes[0].set_ylabel("weight")
    axes[0].legend(fontsize=8)
    save(figure, path)


def plot_weights(place: plt.Axes, weights_RM: np.ndarray, modalities: Sequence[str], top: float) -> None:
    """A line a modality over the rounds."""
    for m, modality in enumerate(modalities):
        place.plot(weights_RM[:, m], color=COLORS[m], marker=MARKERS[m], label=modality)
    place.set_xlabel("round")
    place.set_ylim(0, top)


def save(figure: plt.Figure, path: Path) -> None:
    """SVG without a date, so that the same figures are the same files."""
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    print(f"wrote {path.relative_to(ROOT)}")


def main() -> None:
    torch.set_num_threads(1)
    plt.rcParams["svg.hashsalt"] = "rlmba"
    FIGURES.mkdir(parents=True, exist_ok=True)
    draw_terms(FIGURES / "terms.svg")
    draw_selections(FIGURES / "selections.svg")
    draw_known_weights(FIGURES / "known_weights.svg")
    prepare()
    draw_weights(FIGURES / "weights.svg")


if __name__ == "__main__":
    main()
