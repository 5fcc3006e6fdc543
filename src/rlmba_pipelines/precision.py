"""In which precision a network computes on CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bfloat16_if(reduced: bool) -> Iterator[None]:
    """bfloat16 on CUDA where ``reduced``; else float32 throughout.

    Convolutions too: by default they keep 10 of 23 bits there (TF32), and features were 1 % off those of the CPU.
    """
    import torch  # slow, and not every command computes

    rounded = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast("cuda", torch.bfloat16, enabled=reduced):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = rounded
