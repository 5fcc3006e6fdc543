"""``rlmba_pipelines.select``: the strategies for people who bring arrays of their own."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import rlmba_pipelines
from rlmba_pipelines.learning.acquisition import strategy_names
from rlmba_pipelines.learning.types import Selection, UserError

N, C, K = 40, 3, 4


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def pool(seed=0, modalities=("image", "text")):
    """Everything that ``select`` takes, for ``N`` samples with six labels."""
    rng = np.random.default_rng(seed)
    features = {m: rng.normal(size=(N, 4 + 2 * i)).astype(np.float32) for i, m in enumerate(modalities)}
    draws = softmax(2 * rng.normal(size=(N, K, C)))
    labeled = rng.permutation(N)[:6]
    return {
        "features": features,
        "probabilities": draws.mean(axis=1),
        "draws": draws,
        "embeddings": rng.normal(size=(N, 5)).astype(np.float32),
        "unimodal_probabilities": {m: softmax(rng.normal(size=(N, C))) for m in modalities},
        "modality_embeddings": {m: rng.normal(size=(N, 5)).astype(np.float32) for m in modalities},
        "terms": {"margin": rng.random(N), "entropy": rng.random(N)},
        "labels": np.arange(6) % C,
        "labeled_ids": labeled,
        "arms": np.arange(6) % 3,
        "query_size": 5,
        "rng": 7,
    }


def by_row(given, change):
    """The same arguments with ``change`` done to every array that follows the samples."""
    nested = ("features", "unimodal_probabilities", "modality_embeddings", "terms")
    flat = ("probabilities", "draws", "embeddings", "present")
    out = dict(given)
    out |= {k: {m: change(v) for m, v in given[k].items()} for k in nested if isinstance(given.get(k), dict)}
    return out | {k: change(given[k]) for k in flat if k in given}


@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_gives_positions_where_no_ids_are_given(name):
    given = pool()
    batch = rlmba_pipelines.select(name, **given)
    assert isinstance(batch, Selection)
    assert batch.sample_ids.dtype.kind == "i"
    assert len(set(batch.sample_ids.tolist())) == 5
    assert not set(batch.sample_ids) & set(given["labeled_ids"])


@pytest.mark.parametrize("name", strategy_names())
def test_the_order_of_the_rows_does_not_matter_to_any_strategy(name):
    given = pool()
    order = np.random.default_rng(1).permutation(N)
    plain = rlmba_pipelines.select(name, **given)
    shuffled = rlmba_pipelines.select(name, **by_row(given, lambda rows: rows[order]), sample_ids=order)
    assert shuffled.sample_ids.tolist() == plain.sample_ids.tolist()
    assert shuffled.utility_Q == pytest.approx(plain.utility_Q, rel=1e-6)


@pytest.mark.parametrize("name", strategy_names())
def test_on_one_modality_no_strategy_needs_unimodal_predictions(name):
    given = pool(modalities=("text",))
    del given["unimodal_probabilities"], given["modality_embeddings"]
    given["features"] = given["features"]["text"]
    assert len(rlmba_pipelines.select(name, **given)) == 5


@pytest.mark.parametrize("name", ["badge", "core_set", "coverage", "entropy", "margin", "random"])
def test_several_modalities_without_predictions_of_each_are_enough_for_strategies_on_the_fusion(name):
    given = {k: v for k, v in pool().items() if k in ("features", "probabilities", "query_size", "rng")}
    assert len(rlmba_pipelines.select(name, **given)) == 5


def test_whole_numbers_sort_as_numbers_and_names_as_names():
    even = {"features": np.zeros((3, 1)), "probabilities": np.full((3, 2), 0.5), "query_size": 3, "rng": 0}
    assert rlmba_pipelines.select("margin", sample_ids=[10, 9, 100], **even).sample_ids.tolist() == [9, 10, 100]
    names = rlmba_pipelines.select("margin", sample_ids=["10", "9", "100"], **even).sample_ids
    assert names.tolist() == ["10", "100", "9"]


def test_the_seed_is_the_generator_that_it_seeds():
    given = pool() | {"rng": 3}
    seeded, generated, other = (
        rlmba_pipelines.select("random", **(given | {"rng": rng})).sample_ids.tolist()
        for rng in (3, np.random.default_rng(3), np.int64(4))
    )
    assert seeded == generated != other


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_of_any_precision_choose_as_the_arrays_of_the_same_numbers_do(dtype):
    given = pool()
    tensors = by_row(given, lambda rows: torch.tensor(rows, requires_grad=True).to(dtype))
    arrays = by_row(tensors, lambda tensor: tensor.detach().double().numpy())
    for name in ("probabilities", "draws"):
        arrays[name] = arrays[name] / arrays[name].sum(axis=-1, keepdims=True)
    arrays["unimodal_probabilities"] = {
        m: p / p.sum(axis=-1, keepdims=True) for m, p in arrays["unimodal_probabilities"].items()
    }
    for name in ("margin", "core_set", "badge", "bald"):
        from_tensors, from_arrays = (rlmba_pipelines.select(name, **g).sample_ids.tolist() for g in (tensors, arrays))
        assert from_tensors == from_arrays


@pytest.mark.gpu
@pytest.mark.parametrize("name", strategy_names())
def test_tensors_on_cuda_choose_as_those_on_the_cpu_do(name):
    given = pool()
    batches = [
        rlmba_pipelines.select(name, **by_row(given, lambda rows, d=device: torch.tensor(rows, device=d)))
        for device in ("cpu", "cuda")
    ]
    assert batches[0].sample_ids.tolist() == batches[1].sample_ids.tolist()
    assert np.array_equal(batches[0].utility_Q, batches[1].utility_Q)


def test_ids_and_labels_may_be_tensors_too():
    given = pool()
    as_tensors = {k: torch.tensor(given[k]) for k in ("labeled_ids", "labels")} | {"sample_ids": torch.arange(N)}
    first, second = (rlmba_pipelines.select("galaxy", **(given | more)) for more in ({}, as_tensors))
    assert first.sample_ids.tolist() == second.sample_ids.tolist()


def test_labels_by_name_are_those_by_column():
    given = pool()
    names = np.array(["cat", "dog", "emu"])[given["labels"]]
    by_column = rlmba_pipelines.select("galaxy", **given).sample_ids.tolist()
    assert rlmba_pipelines.select("galaxy", **(given | {"labels": names})).sample_ids.tolist() == by_column
    named = given | {"labels": names, "classes": ["cat", "dog", "emu"]}
    assert rlmba_pipelines.select("galaxy", **named).sample_ids.tolist() == by_column


def test_probabilities_are_the_mean_of_the_draws_where_only_draws_are_given():
    given = pool()
    both = rlmba_pipelines.select("margin", **given)
    del given["probabilities"]
    assert rlmba_pipelines.select("margin", **given).sample_ids.tolist() == both.sample_ids.tolist()


def test_embeddings_are_the_features_where_none_are_given():
    given = {"features": np.array([[0.0], [1.0], [9.0], [4.0]]), "probabilities": np.full((4, 2), 0.5)}
    batch = rlmba_pipelines.select("core_set", **given, labeled_ids=[0], query_size=3, rng=0)
    assert batch.sample_ids.tolist() == [2, 3, 1]
    assert batch.reasons["distance"].tolist() == [9.0, 4.0, 1.0]


def test_what_lies_where_a_modality_is_missing_is_not_looked_at():
    given = pool()
    present = np.ones((N, 2), dtype=bool)
    present[::3, 1] = False
    hollow = dict(given, present=present, unimodal_probabilities=dict(given["unimodal_probabilities"]))
    for part in ("features", "unimodal_probabilities", "modality_embeddings"):
        hollow[part] = {m: block.copy() for m, block in given[part].items()}
        hollow[part]["text"][~present[:, 1]] = np.nan
    assert len(rlmba_pipelines.select("unimodal:text:margin", **hollow)) == 5
    whole = dict(given, present=present)
    for name in ("coverage", "bmmal", "herding"):
        picks = [rlmba_pipelines.select(name, **g).sample_ids.tolist() for g in (whole, hollow)]
        assert picks[0] == picks[1]


def test_arrays_are_left_as_they_were_and_sorted_ones_are_not_copied():
    given = pool()
    frozen = by_row(given, lambda rows: np.array(rows))
    by_row(frozen, lambda rows: rows.setflags(write=False))
    rlmba_pipelines.select("badge", **frozen)
    rows = rlmba_pipelines.learning.inputs.Rows.of(None, N)
    block = given["features"]["image"]
    assert rows.numbers(block, "features", "ND") is block
    ordered = rlmba_pipelines.learning.inputs.Rows.of([f"s{i:03d}" for i in range(N)], N)
    assert ordered.numbers(block, "features", "ND") is block


def test_nobody_left_to_label_gives_an_empty_batch():
    given = pool() | {"labeled_ids": np.arange(N), "labels": np.arange(N) % C, "arms": None}
    assert len(rlmba_pipelines.select("margin", **given)) == 0


BAD = np.where(np.arange(N)[:, None] == 4, np.nan, 1 / C) * np.ones((N, C))
NO_DISTRIBUTION = np.where(np.arange(N)[:, None] == 4, 2.0, 1 / C) * np.ones((N, C))
NEGATIVE = np.tile([1.5, -0.5, 0.0], (N, 1))


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("margn", {}, "no strategy 'margn'. Did you mean 'margin'"),
        ("margin", {"options": {"tempo": 1}}, "has no option 'tempo'"),
        ("margin", {"query_size": 0}, "whole number of at least 1, got 0"),
        ("margin", {"query_size": -3}, "whole number of at least 1, got -3"),
        ("margin", {"query_size": 2.5}, "whole number of at least 1, got 2.5"),
        ("margin", {"rng": None}, "rng: a whole number"),
        ("margin", {"rng": -1}, "rng: a whole number"),
        ("margin", {"probabilities": BAD}, r"probabilities: NaN or infinity in 1 sample \(first: 4\)"),
        ("margin", {"probabilities": NO_DISTRIBUTION}, r"1 sample without a distribution .* 4\); .* not logits"),
        ("margin", {"probabilities": NEGATIVE}, "40 samples without a distribution"),
        ("margin", {"probabilities": np.ones((N, 1))}, "probabilities: 1 class; choosing needs at least two"),
        ("margin", {"probabilities": np.full((N - 1, C), 1 / C)}, "probabilities: 39 rows for 40 samples"),
        ("margin", {"probabilities": np.ones(N)}, r"probabilities: an array \[N, C\] is needed, got shape \(40,\)"),
        ("margin", {"probabilities": [[0.5, 0.5], [1.0]]}, "these rows differ in length"),
        ("margin", {"probabilities": np.full((N, C), "x")}, "a dense array of numbers"),
        ("margin", {"probabilities": None, "draws": None}, "'margin' needs probabilities="),
        ("bald", {"draws": None}, "'bald' needs draws="),
        ("bald", {"draws": np.full((N, 1, C), 1 / C)}, "needs at least two"),
        ("bald", {"draws": np.full((N, 2, C + 1), 1 / (C + 1))}, "draws: 4 classes, probabilities have 3"),
        ("bmmal", {"unimodal_probabilities": None}, "'bmmal' needs unimodal_probabilities="),
        ("galaxy", {"labels": None}, "'galaxy' needs labels="),
        ("bmmal", {"unimodal_probabilities": {"image": np.full((N, C), 1 / C)}}, "modalities image, text is needed"),
        ("unimodal:smell:margin", {}, "no modality 'smell'"),
        ("margin", {"features": {}}, "at least one modality"),
        ("margin", {"features": {"image": np.ones((N, 2)), "text": np.ones((3, 2))}}, r"\['text'\]: 3 rows for 40"),
        ("margin", {"sample_ids": range(3)}, "sample_ids: 3 ids for 40 rows"),
        ("margin", {"sample_ids": [5, *range(N - 1)]}, "sample_ids: 5 comes more than once"),
        ("margin", {"sample_ids": ["a", *range(N - 1)]}, "all of one kind"),
        ("margin", {"labeled_ids": [0, 1, 2, 3, 4, 99]}, "labeled_ids: no sample has the id 99"),
        ("margin", {"labeled_ids": [0, 1, 2, 3, 4, 4]}, "labeled_ids: an id comes more than once"),
        ("margin", {"labeled_ids": list("abcdef")}, "these are names, sample_ids are whole numbers"),
        ("margin", {"labeled_ids": np.arange(N) < 6}, r"np.flatnonzero\(mask\)"),
        ("margin", {"labels": [0, 1]}, "labels: 2 for 6 labeled_ids"),
        ("margin", {"labels": [0, 1, 2, 0, 1, 3]}, r"labels: 3 is no column \(0 to 2\)"),
        ("margin", {"labels": list("aabbab")}, "2 different names for 3 columns"),
        ("margin", {"labels": list("abcabz"), "classes": list("abc")}, "'z' is not among classes"),
        ("margin", {"weights": [1.0, -1.0]}, "weights: one nonnegative number"),
        ("margin", {"weights": {"image": 1.0}}, "weights: a mapping with the modalities image, text"),
        ("margin", {"present": np.ones((N, 1))}, r"present: a mask of shape \(40, 2\)"),
        ("margin", {"present": np.zeros((N, 2))}, "present: sample 0 has no modality"),
    ],
)
def test_a_mistake_is_one_sentence_that_says_what_to_pass(name, change, sentence):
    with pytest.raises(UserError, match=sentence) as refusal:
        rlmba_pipelines.select(name, **(pool() | change))
    assert "\n" not in str(refusal.value)


def test_samples_with_nan_are_named_by_the_ids_they_have():
    given = pool()
    given["features"]["text"][[7, 3]] = np.inf
    with pytest.raises(UserError, match=r"features\['text'\]: NaN or infinity in 2 samples \(first: 's03', 's07'\)"):
        rlmba_pipelines.select(
            "coverage", **(given | {"sample_ids": [f"s{i:02d}" for i in range(N)], "labeled_ids": (), "labels": None,
                                    "arms": None})
        )  # fmt: skip


def test_large_but_finite_numbers_are_no_mistake():
    given = pool(modalities=("text",))
    given["features"]["text"][:] = 3e38  # whose sum overflows
    assert len(rlmba_pipelines.select("margin", **given)) == 5


def test_the_package_stays_light_and_choosing_needs_no_kedro_and_no_torch():
    program = (
        "import sys, rlmba_pipelines\n"
        "assert 'numpy' not in sys.modules, 'importing the package is not light'\n"
        "rlmba_pipelines.select('random', features=[[0.0], [1.0]], query_size=1, rng=0)\n"
        "heavy = {'kedro', 'torch', 'skactiveml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_package_offers_what_it_says_and_nothing_else():
    assert rlmba_pipelines.__all__ == ["select"]
    with pytest.raises(AttributeError, match="no attribute 'choose'"):
        _ = rlmba_pipelines.choose


def test_turning_arrays_into_a_view_is_a_small_part_of_choosing():
    n = 50_000
    given = {"features": np.ones((n, 64), dtype=np.float32), "probabilities": np.full((n, 10), 0.1)}
    start = time.perf_counter()
    rlmba_pipelines.select("random", **given, query_size=10, rng=0)
    assert time.perf_counter() - start < 1.0
