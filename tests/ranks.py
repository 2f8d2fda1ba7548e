"""Run a function in several processes that form one gloo group.

    def losses(rank, ranks, pieces): ...

    assert run_ranks(losses, 2, 4) == ...      # [losses(0, 2, 4), losses(1, 2, 4)]

The function is called as `function(rank, ranks, *args)` with the group already joined, so
`danlu.parallel.mesh.start()` inside finds it; what it returns comes back pickled, one item a rank.
The workers are forked from a server that has imported torch once (not from pytest, whose threads
make forking unsafe), so a call costs a fraction of a second after the first.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import multiprocessing.connection
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["torch", "torch.distributed.fsdp", "torch.distributed.tensor"])


def run_ranks(function: Callable[..., Any], ranks: int, *args: Any, seconds: float = 120) -> list[Any]:
    """Return what `function(rank, ranks, *args)` gives on every rank; raise the first error of any."""
    place = (function.__module__, function.__code__.co_filename, function.__name__)
    with tempfile.TemporaryDirectory() as folder:
        pipes = [_server.Pipe(duplex=False) for _ in range(ranks)]
        workers = [
            _server.Process(target=_work, args=(place, rank, ranks, folder, sender, args), daemon=True)
            for rank, (_, sender) in enumerate(pipes)
        ]
        for worker in workers:
            worker.start()
        for _, sender in pipes:
            sender.close()
        try:
            return _collect([receiver for receiver, _ in pipes], seconds)
        finally:
            for worker in workers:
                worker.join(timeout=5)
                if worker.is_alive():
                    worker.kill()


def _collect(receivers: list[Any], seconds: float) -> list[Any]:
    """Return every rank's answer; the first failure wins, for the others then wait in vain."""
    answers: dict[int, Any] = {}
    while len(answers) < len(receivers):
        waiting = [receiver for rank, receiver in enumerate(receivers) if rank not in answers]
        ready = multiprocessing.connection.wait(waiting, timeout=seconds)
        if not ready:
            silent = sorted(set(range(len(receivers))) - set(answers))
            raise TimeoutError(f"ranks {silent} said nothing in {seconds} s")
        for receiver in ready:
            rank = receivers.index(receiver)
            try:
                ok, answer = receiver.recv()
            except EOFError:
                raise RuntimeError(f"rank {rank} died without a word") from None
            if not ok:
                raise RuntimeError(f"rank {rank} failed:\n{answer}")
            answers[rank] = pickle.loads(answer)
    return [answers[rank] for rank in range(len(receivers))]


def _work(
    place: tuple[str, str, str], rank: int, ranks: int, folder: str, sender: Any, args: tuple[Any, ...]
) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), OMP_NUM_THREADS="1")
    import torch

    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=ranks)
    try:
        # Pickled here: multiprocessing would pass tensors by handles of memory that dies with this process.
        sender.send((True, pickle.dumps(_find(*place)(rank, ranks, *args))))
        torch.distributed.barrier()
    except BaseException:  # noqa: BLE001 (it is told to the parent, whatever it is)
        sender.send((False, traceback.format_exc()))
        os._exit(1)
    finally:
        sender.close()
    torch.distributed.destroy_process_group()


def _find(module: str, file: str, name: str) -> Callable[..., Any]:
    """Return the function again in this process: by its file's path, whatever pytest called the module."""
    sys.path.insert(0, str(Path(__file__).parent))
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(module, file)
        assert spec is not None and spec.loader is not None
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
    return getattr(sys.modules[module], name)
