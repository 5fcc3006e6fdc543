"""The round loop as a ``gymnasium`` environment: anyone's agent decides, round by round, how labels are spent.

    import gymnasium, rlmba_pipelines.simulation.environment
    env = gymnasium.make("rlmba/LabelingRounds-v0", task=task, answer=answer)

One step is one round: θ chooses a batch, the batch is bought, the model is trained and measured on validation again.
Needs the extra ``rlmba_pipelines[rl]``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from rlmba_pipelines.learning.mdp import BOUND, MODALITY_FIELDS, SHARED_FIELDS
from rlmba_pipelines.learning.theta import BOUND as MOST
from rlmba_pipelines.learning.theta import MODALITY_COORDINATES, SHARED_COORDINATES, action_at
from rlmba_pipelines.learning.types import Action, UserError
from rlmba_pipelines.simulation import decide
from rlmba_pipelines.simulation.budget import stopped_because
from rlmba_pipelines.simulation.round import Opened, RoundResult, Task, decide_with, open_round, start_round
from rlmba_pipelines.simulation.tables import Answer
from rlmba_pipelines.simulation.toy import toy_task

ENVIRONMENT = "rlmba/LabelingRounds-v0"


class LabelingRounds(gymnasium.Env[np.ndarray, np.ndarray]):
    """Labeling rounds on one task; an episode is a run.

    Observation: float32[12 + 2 M], ``mdp.State.vector`` in the task's order of modalities.
    Action: float32[6 + 2 M] in [-1, 1], thirds of the coordinates of θ (``learning.theta``); 0 is the prior θ.
    Reward: of ``parameters.policy.reward``, on validation.
    Terminated: a stop rule holds (target accuracy, plateau). Truncated: the budget, the rounds or the pool are used up.
    The seed of ``reset`` is the root of every draw of the episode; ``info`` names it.

    Args:
        task: as for ``simulate``; its strategy should obey θ (``herding``). None: a toy task.
        answer: who labels; None only with the toy task.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, task: Task | None = None, answer: Answer | None = None) -> None:
        if task is None:
            task, answer = toy_task(np.random.default_rng(0))
        if answer is None:
            raise UserError("LabelingRounds needs an answer beside the task: who labels a batch.")
        self._task, self._answer = task, answer
        self._opened: Opened | None = None
        n_modalities = len(task.features.modalities)
        n_seen = len(SHARED_FIELDS) + n_modalities * len(MODALITY_FIELDS)
        n_moved = len(SHARED_COORDINATES) + n_modalities * len(MODALITY_COORDINATES)
        self.observation_space = spaces.Box(-BOUND, BOUND, (n_seen,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (n_moved,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Buy the start batch and train on it.

        Raises:
            UserError: the task has nothing to measure on.
        """
        super().reset(seed=seed)
        episode_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        p = self._task.parameters
        rounds = p.rounds.model_copy(update={"seed": episode_seed})
        self._episode = replace(self._task, parameters=p.model_copy(update={"rounds": rounds}))
        return self._vector(self._open(start_round(self._episode, self._answer))), {"seed": episode_seed}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Buy the batch that θ chooses, and train on all that is bought."""
        if self._opened is None:
            raise UserError("LabelingRounds: call reset before step, and after an episode has ended.")
        before = self._opened
        assert before.observation is not None
        if any(self._over(before)):  # the start batch was enough already
            self._opened = None
            return self._vector(before), 0.0, *self._over(before), {"batch": []}
        result = decide_with(before, self._episode, self._answer, self.action_of(action))
        after = self._open(result)
        assert after.observation is not None
        config = self._episode.parameters.policy.reward
        reward = decide.reward_of(result.state, before.observation.state, after.observation, config)
        terminated, truncated = self._over(after)
        if terminated or truncated:
            self._opened = None
        info = {"batch": result.batch["sample_id"].tolist(), "accuracy": after.validation["accuracy"]}
        return self._vector(after), reward, terminated, truncated, info

    def action_of(self, coordinates: np.ndarray) -> Action:
        """The θ of an action of this environment."""
        modalities, n_shared = self._task.features.modalities, len(SHARED_COORDINATES)
        flat = MOST * np.asarray(coordinates, dtype=np.float64)
        tilts_MT = flat[n_shared:].reshape(len(modalities), len(MODALITY_COORDINATES))
        return action_at(decide.prior_of(self._task.parameters.policy), flat[:n_shared], tilts_MT, modalities)

    def _open(self, result: RoundResult) -> Opened:
        self._opened = open_round(result.state, self._episode, result.labels_next)
        return self._opened

    def _over(self, opened: Opened) -> tuple[bool, bool]:
        """Whether a stop rule holds, and whether budget, rounds or pool are used up."""
        rounds = self._episode.parameters.rounds
        assert opened.observation is not None
        accuracies = (*opened.state.accuracies, opened.validation["accuracy"])
        stopped = stopped_because(accuracies, 0, rounds.model_copy(update={"budget": None}))
        used_up = (
            opened.state.round_idx > rounds.rounds
            or (rounds.budget is not None and opened.observation.state.spent >= 1)
            or set(self._episode.pool_ids) <= set(opened.labels["sample_id"])
        )
        return stopped is not None, used_up

    def _vector(self, opened: Opened) -> np.ndarray:
        if opened.observation is None:
            raise UserError(
                "LabelingRounds: nothing to measure on; give the task a validation split, or rounds.validation_share."
            )
        return opened.observation.state.vector(self._task.features.modalities).astype(np.float32)


if ENVIRONMENT not in gymnasium.registry:
    gymnasium.register(ENVIRONMENT, entry_point="rlmba_pipelines.simulation.environment:LabelingRounds")
