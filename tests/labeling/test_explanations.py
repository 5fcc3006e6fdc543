"""An explanation stays with its answer: into the ledger, through files, corrections and agreement, and never before."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pandas as pd
import pytest

from rlmba_pipelines.config import LabelingConfig, RoundsConfig
from rlmba_pipelines.labeling import Asked, SimulatedOracle, read_answers, resolve, sort_answers
from rlmba_pipelines.learning.vlm.chains import is_chain, join_chain
from rlmba_pipelines.learning.vlm.explanations import explained
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.sources.roster import divide

WHY = json.dumps({"chain": ["shape red circle", "no blue"], "regions": [[0, 0, 0.5, 0.5], None]})
ASKED = Asked({"s0": (1, "training", 1.0), "s1": (1, "training", 1.0)}, {}, frozenset({"yes", "no"}), 1)


def answer(sample_id: str, label: str, why: str, annotator: str = "ann") -> pd.DataFrame:
    row = (sample_id, label, "training", 1, annotator, 1.0, why)
    columns = ["sample_id", "label", "purpose", "round", "annotator", "cost", "explanation"]
    return pd.DataFrame([row], columns=columns)


def test_a_ledger_keeps_explanations_and_its_digest_tells_them(tmp_path: Path) -> None:
    digests = set()
    for name, why in (("with", WHY), ("other", "it is red"), ("without", "")):
        with Ledger(tmp_path / name) as ledger:
            ledger.append(answer("s0", "yes", why))
            digests.add(ledger.digest())
        with Ledger(tmp_path / name) as ledger:
            assert ledger.rows()["explanation"].tolist() == [why]
            assert ledger.history()["explanation"].tolist() == [why]
    assert len(digests) == 3
    with Ledger(tmp_path / "old") as ledger:
        ledger.append(answer("s0", "yes", "").drop(columns="explanation"))
        assert ledger.rows()["explanation"].tolist() == [""]


def test_a_correction_may_explain_the_same_answer_in_another_way(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.append(answer("s0", "yes", WHY))
        assert ledger.correct(answer("s0", "yes", "")) == 0  # nothing is taken back
        assert ledger.correct(answer("s0", "yes", WHY)) == 0
        assert ledger.correct(answer("s0", "yes", "it is red")) == 1
        assert ledger.rows()[["label", "explanation", "cost"]].values.tolist() == [["yes", "it is red", 1.0]]


def test_a_second_answer_changes_no_explanation_and_a_correction_supersedes_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.append(answer("s0", "yes", WHY))
        assert ledger.append(answer("s0", "yes", "another")) == 0
        assert ledger.rows()["explanation"].tolist() == [WHY]
        assert ledger.correct(answer("s0", "no", "no red")) == 1
        assert ledger.rows()[["label", "explanation", "cost"]].values.tolist() == [["no", "no red", 1.0]]
        assert ledger.correct(answer("s0", "yes", "").drop(columns="explanation")) == 1
        assert ledger.rows()["explanation"].tolist() == [""]  # the old reason was for another answer
        assert ledger.history()["explanation"].tolist() == [WHY, "no red", ""]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_brings_explanations_into_the_ledger(tmp_path: Path, kind: str) -> None:
    said = pd.DataFrame({"sample_id": ["s0", "s1"], "label": ["yes", "no"], "explanation": [WHY, " no blue; so\nno "]})
    path = tmp_path / f"answers.{kind}"
    if kind == "csv":
        said.to_csv(path, index=False)
    else:
        said.to_json(path, orient="records", lines=True)
    found = sort_answers(read_answers(path), ASKED)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.append(found.ledger_rows()) == 2
        kept = ledger.rows().set_index("sample_id")["explanation"]
    assert kept.to_dict() == {"s0": WHY, "s1": "no blue; so\nno"}
    assert explained(kept["s0"]) == (("shape red circle", "no blue"), ([0, 0, 0.5, 0.5], None))
    assert explained(kept["s1"]) == (("no blue", "no"), ())


def test_a_chain_of_people_is_one_chain_whatever_words_are_in_it() -> None:
    why = {"chain": ["so", "it is red so it is hot"], "regions": [None, [0, 0, 1, 1]]}
    chain, regions = explained(json.dumps(why))
    assert (chain, regions) == (("it is red it is hot",), ([0, 0, 1, 1],))
    assert is_chain(join_chain(chain, "yes"))
    assert not is_chain(join_chain(why["chain"], "yes"))


def test_an_explanation_with_a_fault_is_not_taken_and_the_file_can_come_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    outside = json.dumps({"chain": ["a"], "regions": [[0.5, 0, 0.6, 1]]})
    rows = [("s0", "yes", outside), ("s1", "no", json.dumps({"chain": "red"}))]
    pd.DataFrame(rows, columns=["sample_id", "label", "explanation"]).to_csv(path, index=False)
    found = sort_answers(read_answers(path), ASKED)
    assert found.ledger_rows().empty
    assert found.rejected == [
        "answers.csv, row 2: in the explanation of 's0' the region [0.5, 0, 0.6, 1] leaves the image; x, y, width and "
        "height are shares of it, from 0 to 1.",
        "answers.csv, row 3: in the explanation of 's1' the chain is not a list of texts; write [\"…\", \"…\"].",
    ]
    assert explained(rows[1][2]) == (('{"chain": "red"}',), ())  # of a ledger that took it


def test_a_file_without_the_column_brings_none_and_a_correction_brings_its_own(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("sample_id,label\ns0,yes\n")
    assert sort_answers(read_answers(path), ASKED).ledger_rows()["explanation"].tolist() == [""]
    path.write_text("sample_id,label,explanation\ns0,no,no red\n")
    before = Asked(ASKED.samples, {"s0": {"people": "yes"}}, ASKED.classes, 1)
    assert sort_answers(read_answers(path), before, correct=True).corrected == [("s0", "people", "no", "no red")]
    assert sort_answers(read_answers(path), before).corrected == []


def test_a_cell_that_a_spreadsheet_would_run_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("sample_id,label,explanation\ns0,yes,'=red is there\n")
    assert read_answers(path).rows["explanation"].tolist() == ["=red is there"]


def test_agreement_hands_on_the_first_explanation_of_an_answer_that_gives_the_label() -> None:
    votes = [("a", "no", "because"), ("b", "yes", ""), ("c", "yes", "it is red"), ("d", "yes", "it is round")]
    for order in permutations(votes):
        rows = pd.concat([answer("s0", label, why, who) for who, label, why in order], ignore_index=True)
        found = resolve(rows, LabelingConfig(annotators=4))
        first = next(why for _, label, why in order if label == "yes" and why)
        assert found.loc[0, ["label", "explanation"]].tolist() == ["yes", first]


def test_the_adjudicators_explanation_counts_where_the_adjudicator_settles() -> None:
    rows = pd.concat([answer("s0", "no", "because", "a"), answer("s0", "yes", "it is red", "b")])
    open_dispute = resolve(rows, LabelingConfig(annotators=2))
    assert open_dispute.loc[0, ["state", "explanation"]].tolist() == ["disputed", ""]
    judged = pd.concat([rows, answer("s0", "maybe", "look again", "adjudicator")])
    settled = resolve(judged, LabelingConfig(annotators=2))
    assert settled.loc[0, ["label", "explanation"]].tolist() == ["maybe", "look again"]


def manifest(n: int = 12) -> pd.DataFrame:
    """Every third row is of the test split; all are labeled and explained, and carry notes."""
    return pd.DataFrame(
        {
            "sample_id": [f"s{i:02d}" for i in range(n)],
            "image": "a.png",
            "text": "?",
            "label": ["yes" if i % 2 else "no" for i in range(n)],
            "split": ["test" if i % 3 == 0 else "pool" for i in range(n)],
            "explanation": [f"secret {i}" for i in range(n)],
            "meta_kind": "animal",
            "meta_answers": '["yes", "secret"]',
            "meta_scene": '["secret"]',
        }
    )


@pytest.mark.parametrize("annotator", ["simulated", "files"])
def test_nothing_that_tells_an_answer_of_the_pool_reaches_the_samples(annotator: str) -> None:
    table = manifest()
    roster = divide(table, RoundsConfig(annotator=annotator, start_size=2, query_size=2))
    in_pool = roster.samples["split"] == "pool"
    assert not roster.samples[in_pool].apply(lambda cells: cells.astype(str).str.contains("secret")).any(axis=None)
    assert not {"label", "explanation"} & set(roster.samples)
    assert set(roster.samples["meta_kind"]) == {"animal"}
    assert set(roster.samples.loc[~in_pool, "meta_scene"]) == {'["secret"]'}  # what a test measures
    told = roster.hidden_labels if annotator == "simulated" else roster.given_labels
    assert told["explanation"].tolist() == table.loc[table["split"] == "pool", "explanation"].tolist()
    pd.testing.assert_frame_equal(table, manifest())  # and the caller keeps its table


def test_the_oracle_gives_the_explanations_of_what_was_bought_and_of_nothing_else() -> None:
    hidden = divide(manifest(), RoundsConfig(annotator="simulated", start_size=2, query_size=2)).hidden_labels
    batch = pd.DataFrame({"sample_id": ["s04", "s01"], "purpose": "training", "round": 1, "cost": 1.0})
    rows = SimulatedOracle(lambda ids: hidden[hidden["sample_id"].isin(ids)]).label(batch)
    assert rows[["sample_id", "explanation"]].values.tolist() == [["s04", "secret 4"], ["s01", "secret 1"]]
