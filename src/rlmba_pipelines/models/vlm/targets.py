"""What a vision-language model is to learn, as batches: prompt and target in one text, and which of it counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.learning.vlm.chains import join_chain
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm, gone_on

IGNORED = -100  # of cross entropy
READY_BYTES = 2**30  # of images that are kept ready for training


@dataclass(frozen=True)
class Targets:
    """A batch to learn from.

    Attributes:
        inputs: of the model; the texts hold prompt and target.
        labels_BT: int64[B, T], the target tokens, ``IGNORED`` elsewhere.
        n_target_B: int64[B], tokens of each target, at the end of the row.
    """

    inputs: dict[str, Tensor]
    labels_BT: Tensor
    n_target_B: np.ndarray


def targets_of(vlm: Vlm, asked: Sequence[VisualQuestion], *, with_chain: bool, longest: int) -> Targets:
    """Questions with what is to be answered.

    Args:
        with_chain: whether the chain is written before the answer.
        longest: tokens that a target may have.

    Raises:
        UserError: a target is longer.
    """
    return targets_for(vlm, asked, answers_in_full(asked, with_chain=with_chain), longest=longest)


def answers_in_full(asked: Sequence[VisualQuestion], *, with_chain: bool) -> list[str]:
    """What is to be answered to each question, as text."""
    return [join_chain(one.chain if with_chain else (), one.answer) for one in asked]


def targets_for(vlm: Vlm, asked: Sequence[VisualQuestion], said: Sequence[str], *, longest: int) -> Targets:
    """The same with the targets given as text."""
    texts, n_target_B = told_in_full(vlm, asked, said, longest=longest)
    inputs = vlm.batch([one.image for one in asked], texts)
    at_T = torch.arange(inputs["input_ids"].shape[1], device=vlm.device)
    of_target_BT = at_T >= len(at_T) - torch.from_numpy(n_target_B).to(vlm.device)[:, None]
    labels_BT = torch.where(of_target_BT, inputs["input_ids"], IGNORED)
    return Targets(inputs, labels_BT, n_target_B)


def targets_by_row(
    vlm: Vlm, asked: Sequence[VisualQuestion], said: Sequence[str], *, longest: int
) -> Callable[[Sequence[int]], Targets]:
    """``targets_for`` of any rows, bit for bit; all are made ready once where they have a common shape and are small.

    A tiny model spent a fifth of every step on reading its questions again.
    """

    def read_again(rows: Sequence[int]) -> Targets:
        return targets_for(vlm, [asked[row] for row in rows], [said[row] for row in rows], longest=longest)

    one = read_again([0]).inputs
    if set(one) != {"input_ids", "attention_mask", "pixel_values"} or one["pixel_values"].shape[0] != 1:
        return read_again
    if len(asked) * one["pixel_values"].nbytes > READY_BYTES:
        return read_again
    ready = targets_for(vlm, asked, said, longest=longest)
    n_real_N = ready.inputs["attention_mask"].sum(1).cpu().numpy()

    def ready_rows(rows: Sequence[int]) -> Targets:
        first, wanted = -int(n_real_N[list(rows)].max()), torch.as_tensor(list(rows), device=vlm.device)
        inputs = {name: value[wanted] for name, value in ready.inputs.items()}
        inputs |= {name: inputs[name][:, first:] for name in ("input_ids", "attention_mask")}
        return Targets(inputs, ready.labels_BT[wanted][:, first:], ready.n_target_B[list(rows)])

    return ready_rows


def fitting(vlm: Vlm, asked: Sequence[VisualQuestion], *, longest: int) -> list[VisualQuestion]:
    """Those whose chain and answer ``told_in_full`` takes; none that sampling cut off at ``longest`` tokens."""
    _, n_target_B, n_all_B = _in_full(vlm, asked, answers_in_full(asked, with_chain=True))
    fits_B = (n_target_B <= longest) & (n_all_B <= (_context(vlm) or np.inf))
    return [one for one, fits in zip(asked, fits_B, strict=True) if fits]


def _in_full(
    vlm: Vlm, asked: Sequence[VisualQuestion], said: Sequence[str]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Prompt and target as one text each, and how many tokens the target and the whole have, with the largest image."""
    prompts, end = vlm.prompts(asked), vlm.processor.tokenizer.eos_token
    texts = [gone_on(prompt, f"{target}{end}") for prompt, target in zip(prompts, said, strict=True)]
    ends = vlm.token_ends(texts)
    n_target_B = np.array([len(at) - np.argmax(at > len(prompt)) for prompt, at in zip(prompts, ends, strict=True)])
    n_text_B = np.array([len(at) for at in ends])
    if not len(asked) or _context(vlm) is None:
        return texts, n_target_B, n_text_B
    largest = max(range(len(asked)), key=lambda row: asked[row].image.width * asked[row].image.height)
    shown = vlm.batch([asked[largest].image], [prompts[largest]])
    return texts, n_target_B, n_text_B + int(vlm.image_positions(shown).sum()) - 1  # one stands in the text already


def _context(vlm: Vlm) -> int | None:
    """Tokens that the language part can read; None where it does not say."""
    return getattr(vlm.model.config.get_text_config(), "max_position_embeddings", None)


def told_in_full(
    vlm: Vlm, asked: Sequence[VisualQuestion], said: Sequence[str], *, longest: int
) -> tuple[list[str], np.ndarray]:
    """Prompt and target as one text each, and int64[B] tokens of each target; ``UserError`` where it is too long."""
    texts, n_target_B, n_all_B = _in_full(vlm, asked, said)
    room = _context(vlm)
    if room and (n_all_B > room).any():
        worst = int(n_all_B.argmax())
        raise UserError(
            f"Image, question, chain and answer of {asked[worst].sample_id!r} have {n_all_B[worst]} tokens, more than "
            f"the {room} that {type(vlm.model).__name__} can read; shorten the text."
        )
    too_long = np.flatnonzero(n_target_B > longest)
    if len(too_long):
        raise UserError(
            f"The chain and answer of {asked[too_long[0]].sample_id!r} have {n_target_B[too_long[0]]} tokens, more "
            f"than vlm.max_tokens ({longest}); shorten the chain or raise it."
        )
    return texts, n_target_B
