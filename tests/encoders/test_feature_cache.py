"""What was computed once is found again, and a kill loses nothing that was finished."""

import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from rlmba_pipelines.encoders import FeatureCache


def digests(n, start=0):
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(start, start + n)]


def test_rows_are_found_by_their_digest_in_any_order_by_another_process_too(tmp_path, rng):
    rows = rng.standard_normal((5, 3)).astype(np.float32)
    FeatureCache(tmp_path).put(digests(5), rows)
    FeatureCache(tmp_path).put(digests(2, start=5), rows[:2] + 1)
    asked = [digests(7)[i] for i in (6, 0, 3)] + ["f" * 64, digests(1)[0]]
    cache = FeatureCache(tmp_path)
    assert_array_equal(cache.lacks(asked), [False, False, False, True, False])
    assert_array_equal(cache.get(asked), np.stack([rows[1] + 1, rows[0], rows[3], np.zeros(3), rows[0]]))


def test_putting_the_same_again_changes_nothing_on_disk(tmp_path):
    cache = FeatureCache(tmp_path)
    for _ in range(2):
        cache.put(digests(4), np.ones((4, 2), dtype=np.float32))
    assert len(list(tmp_path.iterdir())) == 2
    assert len(cache) == len(FeatureCache(tmp_path)) == 4


def test_an_empty_cache_knows_nothing(tmp_path):
    cache = FeatureCache(tmp_path / "none")
    assert cache.get(digests(3)).shape == (3, 0)
    assert cache.lacks(digests(3)).all()


def test_rows_that_are_not_finite_or_of_another_width_are_refused(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put(digests(1), np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(ValueError, match=f"first: {digests(3)[2]}"):
        cache.put(digests(3), np.array([[0, 0], [1, 1], [np.nan, 0]], dtype=np.float32))
    with pytest.raises(ValueError, match="3 wide"):
        cache.put(digests(1, 9), np.zeros((1, 3), dtype=np.float32))


def test_a_torn_shard_counts_as_never_written_and_can_be_written_again(tmp_path):
    FeatureCache(tmp_path).put(digests(4), np.ones((4, 2), dtype=np.float32))
    shard = next(tmp_path.glob("*.rows.npy"))
    shard.write_bytes(shard.read_bytes()[:-5])
    cache = FeatureCache(tmp_path)
    assert cache.lacks(digests(4)).all()
    cache.put(digests(4), np.ones((4, 2), dtype=np.float32))
    assert not FeatureCache(tmp_path).lacks(digests(4)).any()


def test_what_cannot_be_read_is_forgotten_with_the_rows_that_were_asked_for_and_the_others_stay(tmp_path):
    for start in (0, 2, 4):
        FeatureCache(tmp_path).put(digests(2, start), np.full((2, 3), start, dtype=np.float32))
    torn, lost = sorted(tmp_path.glob("*.rows.npy"))[:2]
    torn.write_bytes(torn.read_bytes()[:40])
    lost.unlink()
    left = np.flatnonzero(~FeatureCache(tmp_path).lacks(digests(6)))
    FeatureCache(tmp_path).forget([digests(6)[left[0]]])
    assert len(list(tmp_path.iterdir())) == 2
    assert np.flatnonzero(~FeatureCache(tmp_path).lacks(digests(6))).tolist() == [left[1]]


def test_rows_without_their_keys_were_never_finished_and_go_when_any_are_forgotten(tmp_path):
    FeatureCache(tmp_path).put(digests(4), np.ones((4, 2), dtype=np.float32))
    next(tmp_path.glob("*.keys.npy")).unlink()
    assert FeatureCache(tmp_path).lacks(digests(4)).all()
    FeatureCache(tmp_path).forget(digests(1))
    assert not list(tmp_path.iterdir())


def test_old_leftovers_of_a_killed_run_are_swept_and_young_ones_left(tmp_path):
    for name, age in (("old", 7200), ("young", 0)):
        (tmp_path / f".writing-{name}").write_bytes(b"half")
        os.utime(tmp_path / f".writing-{name}", (time.time() - age,) * 2)
    FeatureCache(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".writing-young"]


WRITER = """
import hashlib, sys
import numpy as np
from rlmba_pipelines.encoders import FeatureCache
cache = FeatureCache(sys.argv[1])
for i in range(10_000):
    cache.put([hashlib.sha256(str(i).encode()).hexdigest()], np.full((1, 2000), i, dtype=np.float32))
    print(i, flush=True)
"""


def test_a_killed_writer_keeps_every_shard_that_it_reported(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True)
    for _ in range(30):
        last = int(writer.stdout.readline())
    writer.kill()
    writer.wait()
    cache = FeatureCache(tmp_path)
    assert not cache.lacks(digests(last + 1)).any()
    rows = cache.get(digests(last + 1))
    assert_array_equal(rows[:, 0], np.arange(last + 1))
    assert_array_equal(rows[:, -1], np.arange(last + 1))


def test_six_thousand_rows_are_looked_up_in_well_under_a_second(tmp_path):
    rows = np.ones((512, 1280), dtype=np.float32)
    cache = FeatureCache(tmp_path)
    for start in range(0, 6000, 512):
        cache.put(digests(512, start), rows)
    asked = digests(6000)
    began = time.perf_counter()
    cache = FeatureCache(tmp_path)
    rows, missing = cache.get(asked), cache.lacks(asked)
    assert time.perf_counter() - began < 0.5
    assert not missing.any()
    assert (rows == 1).all()


@pytest.fixture
def rng():
    return np.random.default_rng(0)
