"""vLLM's own serving benchmark, asked over and over in one process: a script for vLLM's Python.

    python serve_client.py TOKENIZER < REQUESTS

A request is a line of JSON: {"url", "model", "concurrency", "rate", "prompts", "seed"}, and either "file" or
"input" and "output"; its answer is a line too: what the benchmark measured. Importing vLLM takes longer than
a round, hence one process for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from typing import Any

KEYS = ("duration", "completed", "failed", "total_output_tokens", "output_throughput")
TIMES = ("mean_ttft_ms", "median_ttft_ms", "mean_tpot_ms", "median_tpot_ms")
SPREAD = 0.5
"""Lengths lie between half and one and a half of what is asked, as real ones differ."""


def main(tokenizer: str, answers: Any) -> None:
    from vllm.benchmarks.serve import add_cli_args, main_async
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        words = ["--backend", "openai", "--base-url", asked["url"], "--endpoint", "/v1/completions"]
        words += ["--model", asked["model"], "--tokenizer", tokenizer, "--num-prompts", str(asked["prompts"])]
        if asked["file"]:
            words += ["--dataset-name", "sharegpt", "--dataset-path", asked["file"]]
        else:
            words += ["--dataset-name", "random", "--random-range-ratio", str(SPREAD)]
            words += ["--random-input-len", str(asked["input"]), "--random-output-len", str(asked["output"])]
        words += ["--request-rate", str(asked["rate"] or "inf"), "--seed", str(asked["seed"])]
        words += ["--max-concurrency", str(asked["concurrency"]), "--ignore-eos", "--temperature", "0"]
        # Random weights say half letters, which show no text for long: ids tell when a token came.
        words += ["--extra-body", '{"return_token_ids": true}']
        words += ["--disable-tqdm", "--num-warmups", "0", "--ready-check-timeout-sec", "0"]
        began = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            told = asyncio.run(main_async(parser.parse_args(words)))
        found = {key: told[key] for key in KEYS + TIMES if key in told}
        print(json.dumps(found | {"seconds": time.perf_counter() - began}), file=answers, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # What libraries print goes elsewhere than the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        main(sys.argv[1], answers)
