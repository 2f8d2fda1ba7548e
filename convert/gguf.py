"""`python -m convert gguf`: a file for llama.cpp, by llama.cpp's own converter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from convert.reading import read_json
from danlu.base import paths
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.generate.load import check_folder

CHILD = Path(__file__).with_name("gguf_child.py")
SCRIPT = "convert_hf_to_gguf.py"
GET = "git clone --depth 1 https://github.com/ggml-org/llama.cpp, then --llama-cpp llama.cpp"
NEEDS = "DANLU_LLAMA_CPP_PYTHON=the Python of an environment with its requirements.txt"
LAST = 12
"""Lines of what the converter said that are shown when it fails."""

CUTS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "qwen2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "llama-bpe",
}
"""How text is cut into words, and llama.cpp's name for it."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--llama-cpp",
    required=True,
    envvar="DANLU_LLAMA_CPP",
    type=click.Path(path_type=Path),
    help="A checkout of llama.cpp.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .gguf file.")
@click.option(
    "--outtype",
    type=click.Choice(["f32", "f16", "bf16", "q8_0", "auto"]),
    default="auto",
    show_default=True,
    help="Number format, in llama.cpp's words; auto: as it is stored.",
)
def command(folder: Path, llama_cpp: Path, out: Path, outtype: str) -> None:
    """Write FOLDER, an export, as OUT for llama.cpp, with the converter in a checkout of it.

    llama.cpp's converter knows vocabularies by heart and refuses one of your own. Where ours cuts text as one
    that it knows, it is told so. The converter's work is its own: nothing here compares the file's answers.

    \b
    python -m convert gguf out/full_sft_512-hf --llama-cpp llama.cpp --out full_sft_512.gguf
    """
    check_folder(folder)
    if not (llama_cpp / SCRIPT).is_file():
        raise UserError(f"--llama-cpp: {llama_cpp}: there is no {SCRIPT} in it", GET)
    if out.is_dir():
        raise UserError(f"--out: {out}: is a folder", "a .gguf file to be made")
    paths.need_writable(out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    pre = cuts(folder)
    with paths.whole_path(out) as aside:
        _run(llama_cpp, pre, folder, aside, outtype)
    told = f"; its words are cut as {pre}'s" if pre else ""
    say(f"{out}: {out.stat().st_size / 1e6:,.1f} MB, by llama.cpp's converter{told}")


def cuts(folder: Path) -> str:
    """Return llama.cpp's name for how a tokenizer cuts text into words, "" where there is none known."""
    inner = read_json(folder / "tokenizer.json").get("pre_tokenizer") or {}
    steps: list[dict[str, Any]] = inner.get("pretokenizers", [inner])
    patterns = [step["pattern"].get("Regex", "") for step in steps if step.get("type") == "Split"]
    return CUTS.get(patterns[0], "") if len(patterns) == 1 else ""


def _run(checkout: Path, pre: str, folder: Path, out: Path, outtype: str) -> None:
    python = os.environ.get("DANLU_LLAMA_CPP_PYTHON") or sys.executable
    words: list[str | Path] = [python, CHILD, checkout.resolve(), pre, folder.resolve()]
    words += ["--outfile", out.resolve(), "--outtype", outtype]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"{python}: cannot be run: {error.strerror}", NEEDS) from None
    if done.returncode or not out.is_file():
        last = "\n".join(done.stderr.splitlines()[-LAST:])
        raise UserError(f"llama.cpp's converter ended with {done.returncode}. Its last words:\n{last}", NEEDS)
