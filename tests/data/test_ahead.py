"""Work done ahead ends with the process, quietly."""

from __future__ import annotations

import os
import subprocess
import sys

LEAVE = """
import torch
from danlu.data.ahead import Ahead

def items():
    while True:
        x = torch.randn(300, 300, requires_grad=True)
        (x @ x).sum().backward()
        yield x

full, busy = Ahead(items(), 2), Ahead(items(), 10**6)
next(full), next(busy)
"""


def test_a_process_may_end_while_threads_work_ahead():
    """Python tears daemon threads out of torch's code, and that aborts: they must have ended before."""
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", LEAVE], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
