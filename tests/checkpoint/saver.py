"""Saves until it is killed, step n all full of n; run by test_disk.py, which sets RUN and PIPE."""

import torch

from danlu.checkpoint.store import Store

torch.set_num_threads(1)
store = Store(RUN, keep=2, keep_best=False)  # noqa: F821
newest = store.newest()
step = store.plain(newest)["step"] if newest else 0
again = False
while True:
    # Every other step is saved twice, so that kills also meet the replacement of a checkpoint.
    step += not again
    again = not again and step % 2 == 0
    tensors = {"model": {f"w{i}": torch.full((20_000,), step) for i in range(4)}}
    store.save(step, tensors, {"step": step})
    store.wait()
    PIPE.send(step)  # noqa: F821
