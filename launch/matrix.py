"""Write what follows from configs/matrix.yaml, or check that it does.

    python3 launch/matrix.py write      Dockerfiles, image tags, requirements, the tables of the docs
    python3 launch/matrix.py check      names every line that differs, and exits with 1

A line of a file that follows stands below its template:

    # matrix: ARG TORCH={torch.cpu}
    ARG TORCH=2.13.0

In a document a table stands between `<!-- matrix: versions -->` and `<!-- matrix: end -->`; the files in
configs/requirements are written whole, out of pyproject.toml and the matrix. It needs no package.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MATRIX = "configs/matrix.yaml"
REQUIREMENTS = "configs/requirements"
# Files with templates in them, as far as they are there.
FOLLOW = (
    "Dockerfile.*",
    "launch/image/*.sh",
    "compose.yaml",
    "compose/*.yaml",
    ".env.example",
    "compose/.env.example",
    ".github/workflows/*.yml",
)
DOCUMENTS = ("docs/versions.md", "docs/versions.zh-CN.md")

TEMPLATE = re.compile(r"^(\s*)# matrix: (.*)$")
VALUE = re.compile(r"\{([a-z_][a-z0-9_]*)\.([A-Za-z0-9_.-]+)\}")
TABLE = re.compile(r"(<!-- matrix: (\w+) -->\n).*?(<!-- matrix: end -->)", re.DOTALL)

Matrix = dict[str, dict[str, str]]


def read(root: Path) -> Matrix:
    """Return the matrix, whose form is plain: a section, then `key: "value"`."""
    found: Matrix = {}
    section = ""
    for line in (root / MATRIX).read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([a-z]\w*):$", line):
            section = match[1]
            found[section] = {}
        elif match := re.match(r'  ([\w.-]+): "?([^"]*)"?$', line):
            found[section][match[1]] = match[2]
    return found


def filled(template: str, matrix: Matrix) -> str:
    """Return a template with the matrix' values in it.

    >>> filled("ARG TORCH={torch.cpu}", {"torch": {"cpu": "2.13.0"}})
    'ARG TORCH=2.13.0'
    """

    def value(match: re.Match[str]) -> str:
        section, key = match.groups()
        if key not in matrix.get(section, {}):
            raise SystemExit(f"{template}: {MATRIX} has no {section}: {key}")
        return matrix[section][key]

    return VALUE.sub(value, template)


def lines_followed(text: str, matrix: Matrix) -> str:
    """Return a file's text with every line below a template as the template says."""
    lines = text.split("\n")
    for number, line in enumerate(lines[:-1]):
        if match := TEMPLATE.match(line):
            lines[number + 1] = match[1] + filled(match[2], matrix)
    return "\n".join(lines)


def tables_followed(text: str, matrix: Matrix) -> str:
    """Return a document's text with its tables as the matrix says."""
    return TABLE.sub(lambda match: match[1] + TABLES[match[2]](matrix) + match[3], text)


def rows(*cells: tuple[str, ...]) -> str:
    """Return a Markdown table; the first row is its head."""
    head, *body = cells
    parts = [head, ("---",) * len(head), *body]
    return "".join(f"| {' | '.join(row)} |\n" for row in parts)


def table_of_versions(matrix: Matrix) -> str:
    """Return what each image is built on, and what is in it."""
    torch, private, bases = matrix["torch"], matrix["private"], matrix["bases"]
    found = [("", "`train`", "torch", "`serve`")]
    for kind in ("cpu", "cuda"):
        base = bases["python"].removeprefix("docker.io/library/")
        vllm = f"{matrix['images'][f'vllm_{kind}']}:v{private[f'vllm_{kind}']}"
        found.append((kind, f"`{base}`", torch[kind], f"`{vllm}`"))
    for name, stack in stacks(matrix).items():
        base = f"{bases['cann']}:{stack['cann']}-CHIP-{stack['cann_system']}"
        vllm = f"{matrix['images']['vllm_npu']}:v{stack['vllm_ascend']}"
        told = f"{stack['torch']}, torch_npu {stack['torch_npu']}"
        found.append((name, f"`{base}`", told, f"`{vllm}`"))
    return rows(*found)


def stacks(matrix: Matrix) -> dict[str, dict[str, str]]:
    """Return the Ascend stacks by name."""
    own = {"torch": matrix["torch"]["npu"], "cann_system": matrix["bases"]["cann_system"]}
    return {"ascend": matrix["ascend"] | own, "ascend, conservative": matrix["ascend_conservative"]}


def table_of_chips(matrix: Matrix) -> str:
    """Return by chip what the tags of images say of it."""
    found = [("", "`CHIP`", "`train`", "`serve`")]
    known = re.compile(matrix["vllm"]["ascend_chips"])
    for chip, name in matrix["chip_name"].items():
        suffix = matrix["chip_image"].get(chip, "")
        example = {"a2": "910B3", "a3": "Ascend910", "310p": "310P3", "a5": "950"}.get(chip, name)
        serve = f"`…{suffix}`" if known.search(example) else "–"
        train = f"`{matrix['train_images']['npu']}{suffix}`"
        found.append((name, matrix["cann_chip"].get(chip, "–"), train, serve))
    return rows(*found)


TABLES: dict[str, Callable[[Matrix], str]] = {"versions": table_of_versions, "chips": table_of_chips}


def requirements(root: Path, matrix: Matrix) -> dict[str, str]:
    """Return the text of every file in configs/requirements, by name."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    found = {"constraints.txt": constraints(matrix)}
    for part in sorted({part for parts in matrix["image_parts"].values() for part in parts.split()}):
        key = "dependencies" if part == "base" else part
        asked = re.search(rf"^{key} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
        assert asked, f"pyproject.toml has no {key}"
        found[f"{part}.txt"] = "".join(f"{word}\n" for word in re.findall(r'"([^"]+)"', asked[1]))
    head = "# Written by launch/matrix.py, from pyproject.toml and configs/matrix.yaml.\n"
    return {f"{REQUIREMENTS}/{name}": head + body for name, body in found.items()}


def constraints(matrix: Matrix) -> str:
    """Return the exact version of everything; torch is installed before, and stays."""
    pins, older = matrix["packages"] | matrix["beneath"], matrix["python_3_10"]
    found = []
    for name in sorted(pins | older):
        if name not in older:
            found.append(f"{name}=={pins[name]}\n")
            continue
        found.append(f'{name}=={older[name]} ; python_version < "3.11"\n')
        if name in pins:
            found.append(f'{name}=={pins[name]} ; python_version >= "3.11"\n')
    return "".join(found)


def follows(root: Path) -> Iterator[tuple[str, str]]:
    """Yield every file that follows, and what its text should be."""
    matrix = read(root)
    for pattern in FOLLOW:
        for path in sorted(root.glob(pattern)):
            yield path.relative_to(root).as_posix(), lines_followed(path.read_text(encoding="utf-8"), matrix)
    for name in DOCUMENTS:
        if (root / name).exists():
            yield name, tables_followed((root / name).read_text(encoding="utf-8"), matrix)
    yield from requirements(root, matrix).items()


def check(root: Path) -> list[str]:
    """Return every place that does not follow, as `file:line: what it should be`."""
    found = []
    for name, wanted in follows(root):
        path = root / name
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        if there != wanted:
            ours, theirs = wanted.split("\n"), there.split("\n")
            longest = max(len(ours), len(theirs))
            differ = (n for n in range(longest) if ours[n : n + 1] != theirs[n : n + 1])
            number = next(differ)
            found.append(f"{name}:{number + 1}: should be: {''.join(ours[number : number + 1])}")
    expected = set(requirements(root, read(root)))
    for path in sorted((root / REQUIREMENTS).glob("*")):
        name = path.relative_to(root).as_posix()
        if name not in expected:
            found.append(f"{name}: nothing asks for it")
    return found


def write(root: Path) -> list[str]:
    """Write every file that does not follow, and return their names."""
    changed = []
    for name, wanted in list(follows(root)):
        path = root / name
        if not path.exists() or path.read_text(encoding="utf-8") != wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
            changed.append(name)
    return changed


def main(words: list[str]) -> int:
    """Do what the word says, in this clone."""
    if words == ["write"]:
        print("\n".join(write(ROOT)) or "nothing to write")
        return 0
    if words == ["check"]:
        wrong = check(ROOT)
        print("\n".join([*wrong, "try: python3 launch/matrix.py write"] if wrong else ["all follows"]))
        return 1 if wrong else 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
