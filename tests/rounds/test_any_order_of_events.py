"""Select, send, return, repeat, contradict, correct, close, crash and resume in any order: the laws of the ledger hold.

The real node functions, ledger, commits and import of answers; only Kedro and the training are left out.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rlmba_pipelines.config import BalanceConfig, LabelingConfig, Parameters, PolicyConfig, RoundsConfig
from rlmba_pipelines.datasets import Answers, AtomicDataset
from rlmba_pipelines.disk import replacing
from rlmba_pipelines.labeling import WaitingForLabels, read_answers
from rlmba_pipelines.learning.types import Features, Predictions, UserError
from rlmba_pipelines.ledger import NOT_LABELS, Ledger
from rlmba_pipelines.pipelines.policy_selection import nodes
from rlmba_pipelines.rounds.answers import import_answers
from rlmba_pipelines.rounds.batches import close_round
from rlmba_pipelines.rounds.commits import ASKED, DONE, PREPARED, Commit, Experiment
from rlmba_pipelines.rounds.unroll import stage_name
from rlmba_pipelines.simulation.tables import empty_labels, spent

N, BUDGET, CLASSES = 24, 13, ("cat", "dog")
IDS = [f"s{i:02d}" for i in range(N)]
LAYERS = {"labels_next.parquet": "03_primary"}
ROUNDS = RoundsConfig(strategy="random", start_size=6, query_size=5, budget=BUDGET, classes=list(CLASSES))


class Crashed(Exception):
    """The process is gone: what is not on the disk never was."""


class Loop:
    """What the driver does between two questions to people, as a chain of writes that can end at any of them."""

    def __init__(self, experiment: Experiment, wanted: int) -> None:
        self.experiment = experiment
        self.labeling = LabelingConfig(annotators=wanted)
        self.setup = {"modalities": ["image"], "classes": list(CLASSES), "n_validation": 0, "annotator": "files"}
        rng = np.random.default_rng(0)
        ids, present = np.array(IDS), np.ones((N, 1), dtype=bool)
        self.features = Features(ids, {"image": rng.random((N, 3), np.float32)}, present, {"image": "e"})
        p_NMC = rng.dirichlet(np.ones(2), (N, 1))
        self.predictions = Predictions(
            ids, ("image",), present, p_NMC[:, 0], p_NMC, p_NMC, np.zeros((N, 1, 0, 2)),
            rng.random((N, 2), np.float32), rng.random((N, 1, 2), np.float32),
        )  # fmt: skip
        self.terms = pd.DataFrame({"sample_id": IDS})
        self.samples = pd.DataFrame({"sample_id": IDS, "split": "pool", "cost": 1.0, "image": IDS})
        files = {}
        no_labels = dict.fromkeys(("given_labels", "validation_labels", "test_labels"), empty_labels())
        for name, table in {"samples": self.samples, **no_labels}.items():
            path = experiment.folder / f"{name}.parquet"
            table.to_parquet(path)
            files[name] = experiment.place_of(path)
        setup = experiment.folder / "setup.json"
        setup.write_text(json.dumps(self.setup))
        files["setup"] = experiment.place_of(setup)
        experiment.write_commit(Commit(PREPARED, DONE, "", {}, {}, files))
        self._n_writes = 0
        self._crash_at: int | None = None

    def go_on(self, crash_at: int | None) -> None:
        """Everything up to the next wait for people, or up to the write number ``crash_at``."""
        self._crash_at = None if crash_at is None else self._n_writes + crash_at
        while self.experiment.rounds_done() < 6:
            self._one_round(self.experiment.rounds_done() + 1)

    def _one_round(self, k: int) -> None:
        stage = stage_name(k)
        labels = empty_labels() if k == 0 else pd.read_parquet(self._path(k - 1, "labels_next.parquet"))
        state = (
            nodes.open_run(self.setup, ROUNDS, PolicyConfig())
            if k == 0
            else json.loads(self._path(k - 1, "round_state_next.json").read_text())
        )
        asked = self.experiment.commit(stage)
        if asked is None:
            if k == 0:
                selection = nodes.choose_start(
                    self.features, self.samples, labels, self.setup, state, ROUNDS, self.labeling
                )
                batch, *_ = nodes.request_start_labels(selection, self.samples, self.setup)
            else:
                selection = nodes.choose_batch(
                    self.features, self.predictions, self.terms, self.samples, labels, self.setup, state, ROUNDS,
                    BalanceConfig(), self.labeling,
                )  # fmt: skip
                batch, *_ = nodes.request_labels(selection, self.samples, self.predictions, labels, self.setup)
            asked = self._commit(stage, ASKED, {"annotation_batch.parquet": batch}, {})
        batch = pd.read_parquet(self._path(k, "annotation_batch.parquet"))
        hidden = AtomicDataset(filepath="nowhere.parquet", dataset="pandas.ParquetDataset")
        answers = Answers(hidden.load, self.experiment.ledger_path)
        bought, labels_next = nodes.buy_labels(batch, answers, labels, state, self.setup, self.labeling)
        with Ledger(self.experiment.ledger_path) as ledger:
            ledger.append(bought)
        self._wrote()
        made = {"labels_next.parquet": labels_next, "round_state_next.json": nodes.close_round(state, batch)}
        self._commit(stage, DONE, made, dict(asked.files))

    def _commit(self, stage: str, state: str, made: dict[str, Any], files: dict[str, str]) -> Commit:
        version = f"{self._n_writes:06d}"
        for file, data in made.items():
            place = Path(LAYERS.get(file, "07_model_output"), self.experiment.name, stage, file, version, file)
            with replacing(self.experiment.data_path / place) as temporary:
                data.to_parquet(temporary) if file.endswith("parquet") else temporary.write_text(json.dumps(data))
            self._wrote()
            files[f"{stage}.{file.partition('.')[0]}"] = str(place)
        for sheet in ("annotation_sheet", "annotation_tasks"):  # only their place is asked for
            files[f"{stage}.{sheet}"] = sheet
        commit = Commit(stage, state, "", dict.fromkeys(files, version), {}, files)
        self.experiment.write_commit(commit)
        self._wrote()
        return commit

    def _wrote(self) -> None:
        self._n_writes += 1
        if self._n_writes == self._crash_at:
            raise Crashed

    def _path(self, k: int, file: str) -> Path:
        return self.experiment.path_of(stage_name(k), file.partition(".")[0])

    def batches(self) -> list[pd.DataFrame]:
        """Every batch that was asked for, round by round."""
        n = self.experiment.rounds_done() + 1
        n += self.experiment.commit(stage_name(n)) is not None
        return [pd.read_parquet(self._path(k, "annotation_batch.parquet")) for k in range(n)]

    def labels(self) -> pd.DataFrame:
        """What the last round that is done learned of."""
        done = self.experiment.rounds_done()
        return empty_labels() if done < 0 else pd.read_parquet(self._path(done, "labels_next.parquet"))


WHO = st.sampled_from(["ann", "bob", "eve"])
ANSWERS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["cat", "dog", "?", "", "unicorn"]), WHO), min_size=1, max_size=14
)


class AnyOrder(RuleBasedStateMachine):
    """The laws, after every event."""

    wanted = 1

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.experiment = Experiment.of(self.folder, "a")
        self.experiment.folder.mkdir(parents=True)
        self.loop = Loop(self.experiment, self.wanted)
        self.parameters = Parameters(rounds=ROUNDS, labeling=self.loop.labeling)
        self.files: list[Path] = []
        self.sent: list[list[str]] = []

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def _ledger(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        with Ledger(self.experiment.ledger_path) as ledger:
            return ledger.rows(), ledger.history()

    @rule(crash_at=st.none() | st.integers(1, 9))
    def run(self, crash_at: int | None) -> None:
        self._go_on(crash_at)

    def _go_on(self, crash_at: int | None) -> None:
        with suppress(Crashed, WaitingForLabels, UserError):  # a start batch of abstentions
            self.loop.go_on(crash_at)

    @precondition(lambda self: self.loop.batches())
    @rule(answers=ANSWERS, flags=st.sampled_from([(), ("correct",), ("adjudicate",)]), which=st.integers(0, 9))
    def people_return(self, answers: Sequence[tuple[int, str, str]], flags: tuple[str, ...], which: int) -> None:
        """Answers to the open batch or to an older one; duplicates and contradictions as they come."""
        batches = [batch for batch in self.loop.batches() if len(batch)]
        asked = batches[-1 - (which % len(batches) if which > 6 else 0)]["sample_id"].tolist()
        rows = [(asked[i] if i < len(asked) else "stranger", label, who) for i, label, who in answers]
        path = self.folder / f"answers{len(self.files)}.csv"
        pd.DataFrame(rows, columns=["sample_id", "label", "annotator"]).to_csv(path, index=False)
        self.files.append(path)
        import_answers(self.experiment, [read_answers(path)], self.parameters, **dict.fromkeys(flags, True))

    @precondition(lambda self: self.files)
    @rule(which=st.integers(0, 99))
    def the_same_file_again(self, which: int) -> None:
        path = self.files[which % len(self.files)]
        import_answers(self.experiment, [read_answers(path)], self.parameters)
        before = self._ledger()[1]
        assert import_answers(self.experiment, [read_answers(path)], self.parameters).accepted == 0
        assert len(self._ledger()[1]) == len(before)

    @precondition(lambda self: self.loop.batches())
    @rule()
    def everybody_answers_and_it_goes_on(self) -> None:
        batch = self.loop.batches()[-1]
        rows = [(s, CLASSES[int(s[1:]) % 2], who) for s in batch["sample_id"] for who in ("ann", "bob")[: self.wanted]]
        path = self.folder / f"answers{len(self.files)}.csv"
        pd.DataFrame(rows, columns=["sample_id", "label", "annotator"]).to_csv(path, index=False)
        self.files.append(path)
        import_answers(self.experiment, [read_answers(path)], self.parameters)
        self._go_on(None)

    @precondition(lambda self: self.loop.batches())
    @rule()
    def nobody_waits_any_more(self) -> None:
        with suppress(UserError):  # nothing to close, or too little to go on with
            close_round(self.experiment, self.loop.labeling)

    @invariant()
    def the_laws_hold(self) -> None:
        batches = [batch["sample_id"].tolist() for batch in self.loop.batches()]
        labels, (rows, history) = self.loop.labels(), self._ledger()

        assert batches[: len(self.sent)] == self.sent, "what was sent stands"
        self.sent = batches

        labeled: set[str] = set()
        for k, batch in enumerate(batches):
            assert len(set(batch)) == len(batch), "nothing is selected twice"
            assert not labeled & set(batch), "labeled and unlabeled are disjoint"
            labeled |= set(labels.loc[labels["round"] == k, "sample_id"])
        assert labels["sample_id"].is_unique
        assert labeled == set(labels["sample_id"])
        assert set(labels["label"]) <= {*CLASSES, *NOT_LABELS}, "nothing unknown trains"

        still_open = len(batches[-1]) if len(batches) > self.experiment.rounds_done() + 1 else 0
        assert spent(labels, 0) + still_open <= BUDGET

        assert set(rows["sample_id"]) <= {s for batch in batches for s in batch}, (
            "nothing is paid that nobody asked for"
        )
        assert not rows.duplicated(["sample_id", "annotator"]).any(), "nothing is billed twice"
        assert rows["cost"].sum() == history["cost"].sum() == len(history[history["supersedes"].isna()])


class AnyOrderOfTwo(AnyOrder):
    """The same where two answers a sample are wanted."""

    wanted = 2


BOUNDED = settings(max_examples=8, stateful_step_count=15, deadline=None, derandomize=True)
TestAnyOrder, TestAnyOrderOfTwo = AnyOrder.TestCase, AnyOrderOfTwo.TestCase
TestAnyOrder.settings = TestAnyOrderOfTwo.settings = BOUNDED
