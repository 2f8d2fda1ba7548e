"""What vLLM answers, asked inside its own environment: a script for that Python, importing nothing of ours.

    python vllm_child.py ANSWERS < REQUEST

REQUEST is {"jobs": [job, ...]} or {"architectures": [name, ...]}. A job is

    {"model": DIR, "dtype": "float32", "prompts": [[id, ...], ...], "max_tokens": 16, "logprobs": 5,
     "adapter": DIR or null, "max_len": 0}

and its answer one line of the file ANSWERS: for each prompt the greedy tokens, their log-probabilities, the
best `logprobs` tokens of each step with theirs, and, without an adapter, the log-probability of each token of
the prompt but the first; or {"error": ...}. An end token is a token like others, so every answer is
`max_tokens` long. For architectures the line tells how vLLM serves each: "native", "transformers" or "no".

vLLM writes much to standard output, and so do its kernels: hence a file.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

# What lies beside this script is ours, and may be called like something that vLLM imports.
HERE = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != HERE]

SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # two at a time would else share the same cores
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process, whose engines follow each other
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM makes room for; an adapter gets the next."""


def main(answers: str) -> None:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    request = json.load(sys.stdin)
    with open(answers, "w", encoding="utf-8") as file:
        if "architectures" in request:
            tell(file, {name: served(name) for name in request["architectures"]})
        for job in request.get("jobs", []):
            try:
                tell(file, answer(job))
            except Exception as error:  # whatever it is, it is the answer; the next model may do better
                tell(file, {"error": f"{type(error).__name__}: {error}"})


def tell(file: Any, said: dict[str, Any]) -> None:
    file.write(json.dumps(said) + "\n")
    file.flush()


def served(architecture: str) -> str:
    """Return how the installed vLLM serves an architecture."""
    from vllm.model_executor.models import registry

    if architecture in registry._TRANSFORMERS_SUPPORTED_MODELS:
        return "transformers"
    return "native" if architecture in registry.ModelRegistry.get_supported_archs() else "no"


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Return what one model says, in an engine of its own."""
    from vllm import LLM, SamplingParams

    sampling = SamplingParams(
        temperature=0.0,
        max_tokens=job["max_tokens"],
        logprobs=job["logprobs"],
        prompt_logprobs=None if job.get("adapter") else 0,  # with an adapter 0.32 fails at them
        ignore_eos=True,
        detokenize=False,
    )
    prompts = [{"prompt_token_ids": ids} for ids in job["prompts"]]
    longest = max(len(ids) for ids in job["prompts"]) + job["max_tokens"]
    more, lora = adapter(job.get("adapter"))
    try:
        engine = LLM(
            job["model"],
            dtype=job["dtype"],
            max_model_len=job.get("max_len") or longest,
            max_num_seqs=1 if lora else 8,  # with an adapter 0.32 fails at three prompts on a CPU
            max_logprobs=max(20, job["logprobs"]),
            enforce_eager=True,
            enable_prefix_caching=False,
            skip_tokenizer_init=not any(Path(job["model"]).glob("tokenizer*")),
            seed=0,
            **kernels(),
            **more,
        )
        outputs = engine.generate(prompts, sampling, use_tqdm=False, lora_request=lora)
        return plain(outputs, job["logprobs"])
    finally:
        engine = None
        forget()


def kernels() -> dict[str, Any]:
    """Return plain operations for a CPU, whose rotary kernel in 0.32 misreads latent attention's queries."""
    from vllm.platforms import current_platform

    return {"compilation_config": {"custom_ops": ["none"]}} if current_platform.is_cpu() else {}


def adapter(folder: str | None) -> tuple[dict[str, Any], Any]:
    """Return what an engine needs to know of an adapter, and the adapter as a request wants it."""
    if not folder:
        return {}, None
    from vllm.lora.request import LoRARequest

    rank = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))["r"]
    room = next((size for size in RANKS if size >= rank), rank)
    return {"enable_lora": True, "max_lora_rank": room, "max_loras": 1}, LoRARequest("adapter", 1, folder)


def plain(outputs: list[Any], count: int) -> dict[str, Any]:
    """Return vLLM's answers as lists of numbers."""
    said: dict[str, Any] = {"tokens": [], "logprobs": [], "best": [], "prompt_logprobs": []}
    for output in outputs:
        tokens, steps = list(output.outputs[0].token_ids), output.outputs[0].logprobs or []
        said["tokens"].append(tokens)
        said["logprobs"].append([step[token].logprob for token, step in zip(tokens, steps)])
        said["best"].append([best(step, count) for step in steps])
        read = zip(output.prompt_token_ids, output.prompt_logprobs or [])
        said["prompt_logprobs"].append([step[token].logprob for token, step in read if step])
    return said


def best(step: dict[int, Any], count: int) -> list[tuple[int, float]]:
    pairs = [(token, found.logprob) for token, found in step.items()]
    return sorted(pairs, key=lambda pair: -pair[1])[:count]


def forget() -> None:
    """Give back what an engine held, for the next one."""
    from vllm.distributed import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()
    gc.collect()


if __name__ == "__main__":
    main(sys.argv[1])
