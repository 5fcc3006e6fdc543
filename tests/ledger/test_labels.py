"""Classes in one spelling, and only such as people can give as an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmba_pipelines.ledger import NOT_LABELS, canonical_label, fault_of_class, spellings


@given(st.text())
def test_a_canonical_label_is_that_of_itself(text: str) -> None:
    once = canonical_label(text)
    assert canonical_label(once) == once
    assert canonical_label(f" {text}\u00a0") == once


@pytest.mark.parametrize("name", ["می\u200cشود", "👩\u200d🚀", "New\u00a0York", "café", "x" * 200])
def test_a_name_that_people_can_write_may_be_a_class(name: str) -> None:
    assert fault_of_class(canonical_label(name)) is None


@pytest.mark.parametrize("name", ["", "?", *NOT_LABELS, "(None of These)", *"\t\n\u2028\u2029\ud800"])
def test_one_that_they_cannot_may_not(name: str) -> None:
    assert fault_of_class(name) is not None


def test_of_two_spellings_in_an_old_experiment_the_canonical_one_is_meant() -> None:
    assert spellings(["cat ", "cat", " dog"]) == {"cat": "cat", "dog": " dog"}
