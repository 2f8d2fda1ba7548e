"""Peak memory of one training step with a large vocabulary, beside transformers' own model.

    python -m bench.memory --json

Both sides take the same shape (512 wide, 8 blocks, 151,936 words), the same 8 rows of 512 tokens,
fused AdamW and the same number format; each runs in a process of its own, whose peak resident
memory the operating system reports.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

import torch

from danlu.data.batch import collate
from danlu.device import api

WORDS = 151_936
ROWS, LENGTH = 8, 512


def config() -> dict[str, object]:
    from danlu.model.config import preset

    return preset("26m") | {"vocab_size": WORDS}


def danlu_step(dtype: torch.dtype) -> None:
    from bench.ours import Trainee

    trainee = Trainee(config(), dtype, compiled=False)
    rows = [[torch.randint(3, WORDS, (LENGTH,)).numpy()] for _ in range(ROWS)]
    trainee.step([collate(rows, LENGTH)])


def transformers_step(dtype: torch.dtype) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from danlu.model.config import resolve
    from danlu.model.families import to_hf

    described = to_hf(resolve(config()))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**described)).float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    tokens_BT = torch.randint(3, WORDS, (ROWS, LENGTH))
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        loss = model(input_ids=tokens_BT, labels=tokens_BT).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


SIDES = {"danlu": danlu_step, "transformers": transformers_step}


def peak(side: str, dtype: str) -> float:
    """Return the peak memory in GiB of one side's step, run in a child."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.memory", "--side", side, "--dtype", dtype],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--dtype", default=str(api.current().default_dtype())[6:])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.side:
        torch.manual_seed(0)
        SIDES[args.side](getattr(torch, args.dtype))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        return
    peaks = {side: round(peak(side, args.dtype), 2) for side in SIDES}
    result = {
        "dtype": args.dtype,
        "peak_gib": peaks,
        "ratio": round(peaks["danlu"] / peaks["transformers"], 3),
    }
    if args.json:
        print(json.dumps(result))
    else:
        print(f"peak of a step ({args.dtype}): {peaks} GiB; ours is {result['ratio']:.2f} of transformers'")


if __name__ == "__main__":
    main()
