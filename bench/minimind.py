"""MiniMind's side of the comparison: its own model and its own step, from a checkout given by path.

Like its trainer it pads every row to 340 tokens, takes 32 rows at a time and computes in float32 on
a CPU; `--autocast` lets it use bfloat16, which its trainer does not do there. Only real tokens count.
"""

from __future__ import annotations

import argparse
import sys

import torch

from bench.corpus import LONGEST, samples
from bench.duel import serve_rounds

ROWS = 32


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout")
    parser.add_argument("--autocast", action="store_true")
    parser.add_argument("--batches", type=int, default=2)
    args = parser.parse_args()
    sys.path.insert(0, args.checkout)
    from model.model_minimind import MiniMindConfig, MiniMindForCausalLM

    torch.manual_seed(0)
    config = MiniMindConfig(
        hidden_size=512, num_hidden_layers=8, num_key_value_heads=2, intermediate_size=1408, vocab_size=6400
    )
    model = MiniMindForCausalLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    rows = samples(4096)
    place = 0

    def work() -> dict[str, float]:
        nonlocal place
        tokens = 0
        for _ in range(args.batches):
            chosen = rows[place : place + ROWS]
            place = (place + ROWS) % (len(rows) - ROWS)
            input_ids = torch.zeros(ROWS, LONGEST, dtype=torch.long)
            for line, row in zip(input_ids, chosen):
                line[: len(row)] = torch.from_numpy(row)
            labels = input_ids.masked_fill(input_ids == 0, -100)
            with torch.autocast("cpu", torch.bfloat16, enabled=args.autocast):
                result = model(input_ids, labels=labels)
            ((result.loss + result.aux_loss) / args.batches).backward()
            tokens += sum(len(row) for row in chosen)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {"tokens": tokens}

    serve_rounds(
        work,
        parameters=sum(p.numel() for p in model.parameters()),
        dtype="bfloat16" if args.autocast else "float32",
        fill=float(sum(len(row) for row in rows) / (len(rows) * LONGEST)),
    )


if __name__ == "__main__":
    main()
