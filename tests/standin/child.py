"""What torch loads in a child process after torch_npu: the kernels, and the fused operators' references.

torch calls `load` by itself at the end of `import torch` (see `build.py`), so a child is any command of ours,
its own children too, and knows nothing of it.
"""

from __future__ import annotations

import os


def load() -> None:
    """Put the kernels in place; without a chip to be seen there is nothing to put them on."""
    import torch
    import torch_npu  # type: ignore[import-not-found]  # noqa: F401 (its entry point may come after ours)

    torch.ops.load_library(os.path.join(os.environ["STANDIN"], "libkernels.so"))
    from standin import fused

    fused.register()
