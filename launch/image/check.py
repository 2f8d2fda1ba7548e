"""The end of building a stage of an image: what was installed is imported; what follows `--there` is found.

python3 check.py torch numpy --there vllm
"""

import importlib
import importlib.util
import sys

words = sys.argv[1:]
cut = words.index("--there") if "--there" in words else len(words)
for name in words[:cut]:
    importlib.import_module(name)
missing = [name for name in words[cut + 1 :] if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"the image was to have {', '.join(missing)}")
print(f"{', '.join(words[:cut])}: imported")
