"""Conversions, each a command of `python -m convert`, imported only when it is called."""

from __future__ import annotations

import os
import signal
import sys

try:
    import click

    from danlu import __version__
    from danlu.base import interrupts
    from danlu.base.commands import Lazy, run
except KeyboardInterrupt:  # Ctrl-C while Python was still reading
    sys.exit(130)

# name: (module with a click command called `command`, what it does)
COMMANDS = {
    "to-hf": ("convert.to_hf", "Export finished weights, a run or a checkpoint for transformers and vLLM."),
    "from-hf": ("convert.from_hf", "Bring in a model of any known family, to be trained here."),
    "from-pth": ("convert.from_pth", "Bring in a MiniMind .pth file, or an adapter in one."),
    "to-pth": ("convert.to_pth", "Write weights as a MiniMind .pth file."),
    "check": ("convert.check", "Hold an export against what it was made from: bits, fields, answers."),
    "experts": ("convert.experts", "Stack the experts of a folder, or write them one by one."),
    "gguf": ("convert.gguf", "Write an export for llama.cpp, with llama.cpp's own converter."),
    "inspect": ("convert.inspect", "Tell what a folder or file is, and whether it is whole."),
}


@click.group(cls=Lazy, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="convert")
def cli() -> None:
    """Between what is trained here and what others read. A conversion that ends with 0 is right.

    \b
    python -m convert to-hf out/full_sft_512 --out out/full_sft_512-hf
    python -m convert check out/full_sft_512-hf --against out/full_sft_512
    python -m convert from-hf Qwen/Qwen3-0.6B --out out/qwen3
    """


def main() -> None:
    """Run the command line and leave at once: torch takes half a second to put its things away."""
    code: str | int | None = 0
    signal.signal(signal.SIGTERM, interrupts.handle)  # so that a check under way ends with us
    try:
        run(cli, "python -m convert")
    except SystemExit as leave:
        code = leave.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
