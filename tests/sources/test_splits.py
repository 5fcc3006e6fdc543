"""Splits are drawn by group, once and for all."""

import numpy as np
import pandas as pd
import pytest

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.sources import assign_splits
from rlmba_pipelines.sources.splits import later_splits


def table(n, per_group=1, label="x", split=""):
    ids = [f"s{i}" for i in range(n)]
    groups = [f"g{i // per_group}" for i in range(n)]
    return pd.DataFrame({"sample_id": ids, "label": label, "split": split, "group": groups})


def drawn(manifest, seed=0, validation=0.1, test=0.2):
    return assign_splits(manifest, validation_share=validation, test_share=test, seed=seed)


def test_shares_come_out_as_asked_and_groups_stay_whole():
    manifest = table(20_000, per_group=2)
    split = drawn(manifest)
    shares = split.value_counts(normalize=True)
    np.testing.assert_allclose([shares["test"], shares["validation"], shares["pool"]], [0.2, 0.1, 0.7], atol=0.01)
    assert split.groupby(manifest["group"]).nunique().max() == 1


def test_rows_that_are_added_later_never_move_the_old_ones():
    small, large = table(100), table(1000)
    assert list(drawn(large)[:100]) == list(drawn(small))


def test_rows_that_come_later_join_the_split_of_their_group_or_the_pool():
    splits = ["test", "test", "pool", "pool", "validation", "validation", "pool", "test"]  # the last group is torn
    before = table(8, per_group=2).assign(split=splits)
    added = pd.DataFrame({"group": ["g0", "g1", "g2", "g3", "new", "given"], "split": ["", "", "", "", "", "test"]})
    assert list(later_splits(added, before)) == ["test", "pool", "validation", "test", "pool", "test"]
    for group, split in (("g0", "pool"), ("g1", "test")):
        with pytest.raises(UserError, match=f"The group '{group}' lies in pool and test"):
            later_splits(pd.DataFrame({"group": [group], "split": [split]}), before)


def test_another_seed_draws_other_groups():
    assert list(drawn(table(100), seed=1)) != list(drawn(table(100), seed=0))


def test_without_labels_everything_is_pool_and_so_is_a_group_without_one():
    assert set(drawn(table(100, label=""))) == {"pool"}
    half = table(1000)
    half.loc[half.index % 2 == 0, "label"] = ""
    assert set(drawn(half)[half["label"] == ""]) == {"pool"}


def test_given_splits_are_kept_and_empty_ones_are_pool():
    manifest = table(4).assign(split=["test", "", "validation", "pool"])
    assert list(drawn(manifest)) == ["test", "pool", "validation", "pool"]


def test_a_group_in_two_of_the_given_splits_is_refused_by_name():
    manifest = table(4, per_group=2).assign(split=["test", "test", "test", ""])
    with pytest.raises(UserError, match=r"The group 'g1' lies in pool and test \(1 such groups\)"):
        drawn(manifest)


def test_shares_that_leave_no_pool_are_refused():
    with pytest.raises(UserError, match="leave nothing to select from"):
        drawn(table(4), validation=0.5, test=0.5)
