"""Controls do to the data what they say, and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlmba_pipelines.benchmark.damage import damaged, noisy, tail_kept
from rlmba_pipelines.benchmark.protocol import Damage
from rlmba_pipelines.simulation.toy import toy_task


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def hidden_of(task: object, answer: object) -> pd.DataFrame:
    ids = task.pool_ids  # type: ignore[attr-defined]
    batch = pd.DataFrame({"sample_id": ids, "purpose": "training", "round": 0, "cost": 1.0})
    return answer(batch)[["sample_id", "label"]]  # type: ignore[operator]


def test_shuffled_labels_are_the_same_labels_on_other_samples(rng: np.random.Generator) -> None:
    task, answer = toy_task(rng)
    hidden = hidden_of(task, answer)
    changed, now = damaged(task, hidden, Damage(shuffled=True), "image", rng)
    assert sorted(now["label"]) == sorted(hidden["label"])
    same = (now["label"].to_numpy() == hidden["label"].to_numpy()).mean()
    assert 0.15 < same < 0.55  # three classes: a third by chance
    pd.testing.assert_frame_equal(changed.test, task.test)
    pd.testing.assert_frame_equal(changed.validation, task.validation)


def test_noise_changes_the_stated_share_to_each_other_class_alike(rng: np.random.Generator) -> None:
    labels = np.repeat(np.array(["a", "b", "c"], dtype=object), 3000)
    now = noisy(labels, 0.1, rng)
    wrong = now != labels
    assert wrong.sum() == 900
    for own in "abc":
        others = pd.Series(now[wrong & (labels == own)]).value_counts()
        assert own not in others
        assert others.min() / others.sum() > 0.4


def test_a_long_tail_falls_geometrically_by_its_ratio(rng: np.random.Generator) -> None:
    labels = np.repeat([f"c{i}" for i in range(5)], 160)
    sizes = sorted(np.unique(labels[tail_kept(labels, 16, rng)], return_counts=True)[1].tolist())
    assert sizes == [10, 20, 40, 80, 160]


def test_classes_of_any_sizes_get_the_whole_ratio_and_keep_their_order(rng: np.random.Generator) -> None:
    sizes = [60, 1135, 75, 500, 300, 1135, 120]
    labels = np.repeat([f"c{i}" for i in range(7)], sizes)
    found = np.unique(labels[tail_kept(labels, 50, rng)], return_counts=True)[1]
    kept = sorted(found.tolist(), reverse=True)
    assert kept == [round(kept[0] * 50 ** (-k / 6)) for k in range(7)]
    assert [found[i] for i in (3, 4, 6, 2, 0)] == kept[2:]
    assert 1100 <= kept[0] <= 1135  # no more is left out than has to be


def test_the_tail_is_cut_from_the_pool_alone(rng: np.random.Generator) -> None:
    task, answer = toy_task(rng)
    changed, now = damaged(task, hidden_of(task, answer), Damage(long_tail=4), "image", rng)
    assert len(changed.pool_ids) == len(now) < len(task.pool_ids)
    assert set(changed.pool_ids) == set(now["sample_id"])
    assert (changed.samples["split"] == "validation").sum() == (task.samples["split"] == "validation").sum()


def test_the_named_modality_goes_missing_for_its_share_and_nobody_loses_everything(rng: np.random.Generator) -> None:
    task, answer = toy_task(rng)
    changed, _ = damaged(task, hidden_of(task, answer), Damage(missing=0.3), "text", rng)
    column = task.features.modalities.index("text")
    assert (~changed.features.present_NM[:, column]).sum() == round(0.3 * len(task.features))
    assert changed.features.present_NM.any(axis=1).all()
    assert task.features.present_NM.all()  # the task that came in is as it was


def test_no_damage_changes_nothing(rng: np.random.Generator) -> None:
    task, answer = toy_task(rng)
    hidden = hidden_of(task, answer)
    changed, now = damaged(task, hidden, Damage(), "image", rng)
    assert changed is task
    pd.testing.assert_frame_equal(now, hidden.sort_values("sample_id", ignore_index=True))
