"""What an append has built and not yet put in place: moved in whole, now or by the next command."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

from rlmba_pipelines.disk import replacing, sync
from rlmba_pipelines.rounds.commits import Commit, Experiment, read_object

JOURNAL, ASIDE = "append.json", ".append"  # in the folder of the experiment: what to move, and what is moved


def finish_append(experiment: Experiment) -> None:
    """Move in what an append had built when it was interrupted, and remove what it had not finished building."""
    journal, aside = experiment.folder / JOURNAL, experiment.folder / ASIDE
    if journal.exists():
        moves = read_object(journal)
        for name, place in moves["files"].items():
            source, target = aside / name, experiment.data_path / place
            if source.exists():
                if target.is_dir():
                    shutil.rmtree(target)
                os.replace(source, target)
                sync(target)
        for stage, changed in moves["recommit"].items():
            commit = experiment.commit(stage)
            if commit:
                experiment.write_commit(replace(commit, digests={**commit.digests, **changed}))
        experiment.write_commit(Commit(**moves["commit"]))
        parameters = {**read_object(experiment.parameters_path), "manifest": moves["manifest"]}
        request = experiment.request()
        request["runtime_params"]["manifest"] = moves["manifest"]
        for path, content in ((experiment.parameters_path, parameters), (experiment.request_path, request)):
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(content, indent=1, sort_keys=True))
        journal.unlink()
    shutil.rmtree(aside, ignore_errors=True)
