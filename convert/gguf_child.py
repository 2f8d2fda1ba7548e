"""llama.cpp's own converter, run in its checkout: a script importing nothing of ours.

    python gguf_child.py CHECKOUT PRE HF_DIR --outfile FILE --outtype f32

Their converter knows how a vocabulary cuts text into words by a hash of what it makes of one text, so every
new vocabulary is unknown to it. Where it does not know, PRE is the answer, its name for the same cuts.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What lies beside this script is ours, and is called like something that Python itself has.
HERE = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != HERE]


def main(checkout: str, pre: str, words: list[str]) -> None:
    sys.path[:0] = [checkout, f"{checkout}/gguf-py"]
    import convert_hf_to_gguf as theirs  # type: ignore[import-not-found]

    # Older ones hold everything in one file.
    holder: Any = theirs if hasattr(theirs, "TextModel") else importlib.import_module("conversion.base")
    kind = holder.TextModel
    kind.get_vocab_base_pre = known_or(kind.get_vocab_base_pre, pre)
    sys.argv = ["convert_hf_to_gguf.py", *words]
    theirs.main()


def known_or(asked: Callable[..., str], pre: str) -> Callable[..., str]:
    """Return what asks theirs first."""

    def get_vocab_base_pre(self: Any, tokenizer: Any) -> str:
        try:
            return asked(self, tokenizer)
        except NotImplementedError:
            if not pre:
                raise
            return pre

    return get_vocab_base_pre


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
