"""Keep `import torch` from failing where a vendor's package is installed and its libraries are not found.

torch loads such packages by itself. With torch_npu and without CANN, or where its set_env.sh was not read,
every command that needs torch would end in a traceback, also those that were to use the processor.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from pathlib import Path

AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"
PACKAGE, LIBRARY = "torch_npu", "libhccl.so"

kept_off = ""
"""Why torch was told to load no vendor's package, if it was."""


def guard() -> None:
    """Call this before torch is imported; it costs a look at a folder or two."""
    global kept_off
    if AUTOLOAD in os.environ or importlib.util.find_spec(PACKAGE) is None:
        return
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    if any(Path(folder, LIBRARY).exists() for folder in folders if folder):
        return
    try:
        ctypes.CDLL(LIBRARY)  # a system's linker may know it without being told
    except OSError:
        kept_off = f"{PACKAGE} is installed, but {LIBRARY} is not found: is set_env.sh of CANN read?"
        os.environ[AUTOLOAD] = "0"
