"""Ask a real vLLM about finished weights, wherever its environment is.

    answers = ask([Job(folder, prompts)])
    answers[0].tokens[0]      the greedy tokens after the first prompt
    answers[0].logprobs[0]    their log-probabilities

vLLM wants a torch of its own, so it never shares an environment with the trainer: `vllm_child.py` runs there,
in one process for all jobs, because importing vLLM takes longer than asking it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from danlu.base import log
from danlu.base.errors import UserError

CHILD = Path(__file__).with_name("vllm_child.py")
CLONE = Path(__file__).resolve().parents[1]
SETUP = "bash run_all.sh setup --with vllm, or DANLU_VLLM_PYTHON=the Python of an environment with vLLM"

LAST = 15
"""Lines of a dead child's words that are shown."""


@dataclass(frozen=True)
class Job:
    """One model, or a model with an adapter, and what it is asked."""

    model: str | Path
    prompts: Sequence[Sequence[int]]
    max_tokens: int = 16
    logprobs: int = 5
    """How many of the best tokens of each step are told."""
    dtype: str = "float32"
    adapter: str | Path | None = None
    """A folder with a LoRA adapter in PEFT's layout."""
    max_len: int = 0
    """The context vLLM is started with; 0: as long as the longest answer. Some rotary scalings go by it."""


@dataclass(frozen=True)
class Answer:
    """What vLLM said, prompt by prompt. No answer ends early: an end token is a token like others."""

    tokens: list[list[int]]
    logprobs: list[list[float]]
    best: list[list[list[tuple[int, float]]]]
    """At each step the likeliest tokens, best first."""
    prompt_logprobs: list[list[float]]
    """Of each token of the prompt but the first; with an adapter none."""


def find_python() -> Path | None:
    """Return the Python of an environment with vLLM: the one named, this clone's own, else this very one."""
    if named := os.environ.get("DANLU_VLLM_PYTHON"):
        return Path(named)
    private = CLONE / ".venv-vllm/bin/python"
    if private.exists():
        return private
    return Path(sys.executable) if importlib.util.find_spec("vllm") else None


def ask(jobs: Sequence[Job]) -> list[Answer]:
    """Return what vLLM answers to each job, or say which model it could not serve and why."""
    answers = replies(jobs)
    for job, said in zip(jobs, answers):
        if "error" in said:
            raise UserError(
                f"{job.adapter or job.model}: vLLM cannot serve this: {_short(said['error'])}",
                "docs/models.md tells what it serves",
            )
    return [Answer(**said) for said in answers]


def replies(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Return for each job the fields of its answer, or {"error": ...}."""
    count = "a model" if len(jobs) == 1 else f"{len(jobs)} models"
    log.say(f"asking vLLM about {count}; it takes some seconds to start")
    asked = [{key: _plain(value) for key, value in asdict(job).items()} for job in jobs]
    return _run({"jobs": asked})


def how_served(architectures: Sequence[str]) -> dict[str, str]:
    """Return how the vLLM found here serves each architecture: "native", "transformers" or "no"."""
    return _run({"architectures": list(architectures)})[0]


def _plain(value: Any) -> Any:
    return str(value.resolve()) if isinstance(value, Path) else value


def _run(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of the child's answer; what vLLM says on the way is shown only if it dies."""
    python = find_python()
    if python is None:
        raise UserError("vLLM is not installed here", SETUP)
    with tempfile.TemporaryDirectory() as place:
        answers, words = Path(place, "answers"), Path(place, "words")
        with words.open("w") as file:
            try:
                done = subprocess.run(
                    [python, CHILD, answers],
                    input=json.dumps(request),
                    text=True,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=place,
                )
            except OSError as error:
                raise UserError(f"{python}: cannot be run: {error.strerror}", SETUP) from None
        said = answers.read_text(encoding="utf-8") if answers.exists() else ""
        found = [json.loads(line) for line in said.splitlines()]
        if len(found) < len(request.get("jobs", [None])):
            last = words.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST:]
            raise UserError(f"vLLM ended with {done.returncode}. Its last words:\n" + "\n".join(last), SETUP)
    return found


def _short(error: str) -> str:
    """Return an error in one line; of a traceback its ends."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return (" ".join(lines) if len(lines) < 5 else f"{lines[0]} ... {lines[-1]}")[:500]
