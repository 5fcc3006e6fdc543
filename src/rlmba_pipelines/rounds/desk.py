"""An experiment's place on an annotation server: where it is, who asks, and by which key a round is found there."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass

from kedro.config import AbstractConfigLoader, MissingConfigException
from pydantic import SecretStr

from rlmba_pipelines.config import LabelStudioConfig, Parameters
from rlmba_pipelines.labeling.label_studio import Board, Client
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.driver import Request, Runner, quiet
from rlmba_pipelines.rounds.parameters import asked_for, checked
from rlmba_pipelines.rounds.unroll import stage_name
from rlmba_pipelines.sources.media import MediaRoot, folder_of_media

NAMESPACE = uuid.UUID("5f0f6d1c-3c0e-5d52-9b1a-0d7b5a1f3a64")  # of the names of rounds and tasks, for ever
SERVER = "label_studio"  # as an annotator; in the outbox, before the address
TOKEN = "LABEL_STUDIO_API_KEY"


@dataclass(frozen=True)
class Desk:
    """One experiment's place on one server.

    Attributes:
        parameters: of the experiment; ``label_studio`` as configured now.
        media: where the media of the samples lie.
    """

    experiment: Experiment
    parameters: Parameters
    client: Client
    media: MediaRoot

    @property
    def target(self) -> str:
        """The server's name in the ledger's outbox."""
        return f"{SERVER} {self.client.url}"

    @property
    def board(self) -> Board:
        return Board(self.client)

    def rounds_sent(self) -> tuple[int, ...]:
        """Rounds that went to this server, or were about to."""
        with Ledger(self.experiment.ledger_path) as ledger:
            return tuple(sorted(k for k, target in ledger.outbox() if target == self.target))


def round_key(experiment: Experiment, round_idx: int) -> str:
    """The UUID of a round's batch, the same for every server and for ever: of the experiment, and of one choice."""
    stage = stage_name(round_idx)
    commit = experiment.commit(stage)
    version = commit.versions[f"{stage}.annotation_batch"] if commit else ""
    return str(uuid.uuid5(NAMESPACE, f"{experiment.name} {stage} {version}"))


def desk_of(experiment: Experiment) -> Desk:
    """The desk that the configuration describes.

    Raises:
        UserError: there is no such experiment, or no token.
    """
    asked = asked_for(experiment)
    with quiet():
        configured = Runner(Request.again(experiment)).context().config_loader
        now = checked(dict(configured["parameters"])).label_studio
        manifest = experiment.project_path / configured["catalog"]["manifest"]["filepath"]
    media = MediaRoot(folder_of_media(manifest, asked.ingest.media_root))
    return Desk(experiment, asked.model_copy(update={"label_studio": now}), _client_of(configured, now), media)


def check_server(request: Request) -> None:
    """Refuse a run that is to ask an annotation server without a token for it, before hours of encoding.

    Raises:
        UserError: as of ``desk_of``.
    """
    with quiet():
        configured = Runner(request).context().config_loader
    asked = checked(dict(configured["parameters"]))
    if asked.rounds.annotator == SERVER:
        _client_of(configured, asked.label_studio)


def _client_of(configured: AbstractConfigLoader, server: LabelStudioConfig) -> Client:
    try:
        credentials = configured["credentials"].get("label_studio") or {}
    except MissingConfigException:
        credentials = {}
    token = os.environ.get(TOKEN) or (credentials.get("token") if isinstance(credentials, dict) else None) or ""
    token = str(token).strip()
    if not token:
        raise UserError(
            f"There is no token for {server.url}; copy one there from Account & Settings, and put it into "
            f"the environment variable {TOKEN} or into conf/local/credentials.yml, label_studio: {{token: …}}."
        )
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise UserError(f"The token in {TOKEN} or conf/local/credentials.yml is none; copy it again, without quotes.")
    return Client(server.url, SecretStr(token), timeout=server.timeout_seconds)
