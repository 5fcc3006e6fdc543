"""Map a function over shards in worker processes of one thread each; results come back in order.

Processes are spawned, never forked: a forked CUDA context or thread pool is broken. A worker ends with its parent,
even when the parent is killed, so that no orphan keeps a core busy.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from rlmba_pipelines.learning.types import UserError

Shard = TypeVar("Shard")
Result = TypeVar("Result")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def map_shards(
    fn: Callable[[Shard], Result],
    shards: Iterable[Shard],
    *,
    setup: Callable[[], object] | None = None,
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Generator[Result]:
    """Yield ``fn(shard)`` for every shard, in the order of ``shards``, whatever the number of workers.

    Args:
        fn: a module-level function, or a ``functools.partial`` of one; it must be picklable when ``workers > 1``.
        shards: pieces of work; only a few are in flight at a time.
        setup: called once in every worker before its first shard (with one worker: once, here).
        workers: processes; 1 runs everything in this process.
        progress: called with the number of shards finished so far.

    Raises:
        UserError: a worker died, most often for want of memory.
        Exception: whatever ``fn`` or ``setup`` raised, with its own type.

    >>> list(map_shards(sum, [(1, 2), (3, 4)]))
    [3, 7]
    """
    results = _in_process(fn, shards, setup) if workers <= 1 else _in_workers(fn, shards, setup, workers)
    for done, result in enumerate(results, start=1):
        if progress is not None:
            progress(done)
        yield result


def _in_process(
    fn: Callable[[Shard], Result], shards: Iterable[Shard], setup: Callable[[], object] | None
) -> Iterator[Result]:
    if setup is not None:
        setup()
    for shard in shards:
        yield fn(shard)


def _in_workers(
    fn: Callable[[Shard], Result], shards: Iterable[Shard], setup: Callable[[], object] | None, workers: int
) -> Iterator[Result]:
    pending = iter(shards)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    in_flight: deque[Future[Result]] = deque()
    finished = False
    try:
        with _one_thread_each():  # spawned processes read these variables once, when they start
            for shard in islice(pending, 2 * workers):
                in_flight.append(pool.submit(_run, fn, setup, shard))
        while in_flight:
            result = in_flight.popleft().result()
            for shard in islice(pending, 1):
                in_flight.append(pool.submit(_run, fn, setup, shard))
            yield result
        finished = True
    except BrokenProcessPool as died:
        raise UserError(
            "A worker process died before its work was done, most often because memory ran out: "
            "use fewer workers or smaller batches and run again; what was finished is kept."
        ) from died
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=finished, cancel_futures=True)
        if not finished:
            for process in processes:
                process.terminate()


_is_set_up = False


def _run(fn: Callable[[Shard], Result], setup: Callable[[], object] | None, shard: Shard) -> Result:
    """One shard in a worker. The set-up is here and not in the initializer, so that its error keeps its type."""
    global _is_set_up
    if setup is not None and not _is_set_up:
        setup()
    _is_set_up = True
    return fn(shard)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
