"""Device, precision, and the sha256 of weights: what all encoders made of torch share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.precision import bfloat16_if


def choose_device(config: EncodersConfig) -> str:
    """``cpu`` or ``cuda``.

    Raises:
        UserError: CUDA was asked for and is not there.
    """
    if config.device == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if config.device == "cuda":
        raise UserError("encoders.device is cuda, but no CUDA device is to be seen; set it to auto or cpu.")
    return "cpu"


def precision(config: EncodersConfig) -> str:
    """``bfloat16`` on CUDA with ``amp``, else ``float32``; part of the fingerprint."""
    return "bfloat16" if config.amp and choose_device(config) == "cuda" else "float32"


@contextmanager
def inference(config: EncodersConfig) -> Iterator[None]:
    """One compute thread, no gradients, and bfloat16 where ``precision`` says so."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads would change sums, and workers share the cores
    try:
        with torch.inference_mode(), bfloat16_if(precision(config) == "bfloat16"):
            yield
    finally:
        torch.set_num_threads(threads)


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights(path: Path, sha256: str) -> None:
    """Refuse weights that are not, bit for bit, those that this project was built with.

    Raises:
        UserError: they differ.
    """
    found = sha256_of(path)
    if not found.startswith(sha256):
        raise UserError(
            f"The weights {path.name} have sha256 {found[:16]}… and not {sha256[:16]}…; they are damaged or were "
            f"exchanged: install or download them again."
        )
