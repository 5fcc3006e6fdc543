"""Work runs in any number of processes and comes back the same."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from rlmba_pipelines.engines import map_shards
from rlmba_pipelines.learning.types import UserError

_ready = []


def square(x):
    return x * x


def slow_first(x):
    time.sleep(0.3 if x == 0 else 0)
    return x


def remember():
    _ready.append(1)


def count_setups(_):
    return len(_ready)


def environment(_):
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def die(_):
    os._exit(3)


class AwkwardError(Exception):
    def __init__(self, what, number):
        super().__init__(what, number)
        self.number = number


def refuse(limit, x):
    if x >= limit:
        raise AwkwardError("too large", x)
    return x


def test_results_come_in_the_order_of_the_shards_for_one_and_for_two_workers():
    progress = []
    assert list(map_shards(square, range(7), workers=1, progress=progress.append)) == [0, 1, 4, 9, 16, 25, 36]
    assert progress == [1, 2, 3, 4, 5, 6, 7]
    assert list(map_shards(slow_first, range(7), workers=2)) == list(range(7))


def test_each_worker_is_a_process_of_its_own_with_one_thread_and_is_set_up_once():
    pids = {pid for pid, threads in map_shards(environment, range(8), workers=2) if threads == "1"}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2
    assert set(map_shards(count_setups, range(6), setup=remember, workers=2)) == {1}
    assert _ready == []


def test_the_parents_own_environment_is_left_as_it_was(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    list(map_shards(square, [1], workers=2))
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_keeps_its_type_and_what_was_done_before_it_is_delivered(workers):
    done = []
    results = map_shards(partial(refuse, 3), range(10), workers=workers)
    with pytest.raises(AwkwardError) as caught:
        done.extend(results)
    assert caught.value.number == 3
    assert done == [0, 1, 2]


def test_a_worker_that_dies_is_told_in_a_sentence_and_not_waited_for():
    with pytest.raises(UserError, match="fewer workers"):
        list(map_shards(die, [1, 2], workers=2))


SCRIPT = """
import os, signal, time
from rlmba_pipelines.engines import map_shards

def sleep(_):
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background inherits that it is ignored
    list(map_shards(sleep, range(2), workers=2))
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent_whether_it_is_interrupted_or_killed(tmp_path, sent):
    script = tmp_path / "sleeper.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    os.kill(parent.pid, sent)
    assert parent.wait(timeout=10) != 0
    deadline = time.monotonic() + 10
    while any(_is_alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
