"""Device, precision, and the sha256 of weights: what all encoders made of torch share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.learning.types import UserError


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
    """One compute thread, no gradients, and bfloat16 where ``precision`` says so; else float32 throughout."""
    import torch

    threads, rounded = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    torch.set_num_threads(1)  # more threads would change sums, and workers share the cores
    torch.backends.cudnn.allow_tf32 = False  # convolutions would keep 10 of 23 bits, and features be 1 % off
    try:
        reduced = precision(config) == "bfloat16"
        with torch.inference_mode(), torch.autocast(choose_device(config), torch.bfloat16, enabled=reduced):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = rounded


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
