"""A training that was interrupted goes on: weights, optimizer and draws after a number of steps, in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.disk import replacing
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm

MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW, one of each for every weight


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        order: rows that are still to come of the last permutation drawn.
        losses: of every step so far.
        norm: of the last gradient.
    """

    order: np.ndarray
    losses: list[float]
    norm: float

    @property
    def steps(self) -> int:
        return len(self.losses)


class Unfinished:
    """The file of one training. It is read by the same training alone: same base, questions, settings and seed."""

    def __init__(self, path: Path, vlm: Vlm, bought: Sequence[VisualQuestion], config: VlmConfig, seed: int) -> None:
        self.path, self.every = path, config.checkpoint_steps
        told = [(one.sample_id, one.question, one.choices, one.answer, one.chain, str(one.regions)) for one in bought]
        weights = [(name, p.detach().double().sum().item()) for name, p in vlm.model.named_parameters()]
        facts = [config.model_dump(mode="json"), seed, told, weights]
        self._training = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def save(self, vlm: Vlm, optimizer: torch.optim.AdamW, draw: np.random.Generator, progress: Progress) -> None:
        """What :meth:`resume` needs; the old file stays until the new one is whole.

        Raises:
            UserError: the disk is full.
        """
        tensors = {"torch": torch.get_rng_state(), "losses": torch.tensor(progress.losses, dtype=torch.float64)}
        tensors["order"] = torch.from_numpy(progress.order)
        if vlm.cuda_devices:
            tensors["cuda"] = torch.cuda.get_rng_state(vlm.device)
        for name, p in _learned(vlm).items():
            tensors[f"weight {name}"] = p.detach()
            if p in optimizer.state:  # a weight that nothing of the loss hangs on has no moments
                tensors |= {f"{moment} {name}": optimizer.state[p][moment] for moment in MOMENTS}
        facts = {"training": self._training, "draw": json.dumps(draw.bit_generator.state), "norm": repr(progress.norm)}
        with replacing(self.path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, facts)

    def resume(self, vlm: Vlm, optimizer: torch.optim.AdamW, draw: np.random.Generator) -> Progress:
        """Bring all of them to where the file left off; nothing happens where it is missing, damaged or another's."""
        nothing = Progress(np.array([], dtype=np.int64), [], 0.0)
        try:
            with safe_open(self.path, "pt") as file:
                facts, names = file.metadata() or {}, set(file.keys())
                if facts.get("training") != self._training or ("cuda" in names) != bool(vlm.cuda_devices):
                    return nothing
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError):
            return nothing
        losses = tensors["losses"].tolist()
        with torch.no_grad():
            for name, p in _learned(vlm).items():
                p.copy_(tensors[f"weight {name}"])
                if f"{MOMENTS[0]} {name}" in tensors:
                    moments = {moment: tensors[f"{moment} {name}"].to(p) for moment in MOMENTS}
                    optimizer.state[p] = {"step": torch.tensor(float(len(losses))), **moments}
        draw.bit_generator.state = json.loads(facts["draw"])
        torch.set_rng_state(tensors["torch"])
        if vlm.cuda_devices:
            torch.cuda.set_rng_state(tensors["cuda"], vlm.device)
        return Progress(tensors["order"].numpy(), losses, float(facts["norm"]))

    def remove(self) -> None:
        """The training is over."""
        self.path.unlink(missing_ok=True)


def _learned(vlm: Vlm) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in vlm.model.named_parameters() if p.requires_grad}
