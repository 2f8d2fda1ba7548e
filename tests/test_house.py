"""The house, checking itself: floors, rooms, names, sizes. What each rule is for stands in docs/map.md."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "src" / "danlu"

LISTED = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
FILES = [ROOT / name for name in subprocess.check_output(LISTED, cwd=ROOT, text=True).splitlines()]
FILES = [path for path in FILES if path.is_file()]
PYTHON = [path for path in FILES if path.suffix == ".py"]
SHELL = [path for path in FILES if path.suffix == ".sh" or path.parent.name == ".ci"]
MODULES = [path for path in PYTHON if ENGINE in path.parents]

FLOORS = [
    {"base"},
    {"device", "hub", "starter", "tokenizer", "tools"},
    {"model", "data"},
    {"parallel", "checkpoint", "generate"},
    {"train", "evaluate"},
    {"stages", "serve", "manager"},
]
FLOOR = {package: height for height, floor in enumerate(FLOORS) for package in floor}
ROOF = len(FLOORS)
CONVERTS_WITH = set().union(*FLOORS[:4])

# package: what nothing in it may import, lazily or not
MUST_NOT_KNOW = {
    "base": ["torch"],
    "hub": ["torch"],
    "starter": ["torch"],
    "manager": ["torch"],
    "tokenizer": ["torch"],
    "tools": ["torch"],
    "model": ["torch.distributed"],
    "data": ["torch.distributed"],
}

VENDORS = re.compile(r"(?<![a-z])(cuda|npu|nccl|hccl)(?![a-z])", re.IGNORECASE)
VENDOR_ROOMS = (
    "src/danlu/device/",
    "launch/",
    "compose/",
    "Dockerfile",
    "configs/matrix.yaml",
    "configs/failures.yaml",
)
VENDOR_FREE = ("src/", "convert/", "configs/", "run_all.sh", "danlu")

# (where, what must not stand there, why); each pattern is written so that it does not find itself
BANNED = [
    (r"\.py$", r"except( Base| )?(Exception)?( as \w+)?:\s*(pass|\.\.\.)\n", "an error swallowed costs days"),
    (
        r"\.(sh|yaml|yml)$|Dockerfile|\.ci/",
        r"\|\| [t]rue\b",
        "a command that lies is worse than one that fails",
    ),
    (r"\.sh$", r"(^|[;&|] *)[e]val ", "a command is an array, never a string"),
    (r".", r"(?<![\w.])/[w]ork/", "nobody else has that folder"),
    (r".", r"\.\./[s]hared\b", "nobody else has that folder"),
    (r"\.(py|sh|md|yaml|toml)$", r"\b00[0-4]-\d\d\b", "a number from a list nobody else has"),
    (r"\.py$", r"\btorch\.load\((?!.*weights_only=True)", "what a user hands in is never unpickled"),
]
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}
LONGEST = 400


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def home(path: Path) -> str:
    """The package a module of the engine belongs to; 'roof' for the files beside the packages."""
    return path.relative_to(ENGINE).parts[0] if path.parent != ENGINE else "roof"


def imports(path: Path) -> set[str]:
    """Every module a file imports, those inside functions too, as full dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: relative import; write danlu...."
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and re.fullmatch(r"danlu(\.\w+)+", str(node.value)):
            found.add(str(node.value))  # a module named in a table, imported on use
    return found


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_down(path):
    here = home(path)
    for imported in imports(path):
        if match := re.match(r"danlu\.(\w+)", imported):
            there = match[1]
            if there in FLOOR:
                assert here == there or FLOOR[there] < FLOOR.get(here, ROOF), f"{here} may not import {there}"
            else:
                assert here == "roof" or there.startswith("__"), (
                    f"{here} may not import {imported} from the roof"
                )
        for secret in MUST_NOT_KNOW.get(here, []):
            assert not f"{imported}.".startswith(f"{secret}."), f"{here} must not know {secret}"


@pytest.mark.parametrize("path", [path for path in PYTHON if ROOT / "convert" in path.parents], ids=name)
def test_the_converter_imports_from_the_lower_four_floors_alone(path):
    found = [re.match(r"danlu\.(\w+)", imported) for imported in imports(path)]
    packages = {match[1] for match in found if match and not match[1].startswith("__")}
    assert packages <= CONVERTS_WITH, f"convert may not import {packages - CONVERTS_WITH}"


def test_nothing_in_the_engine_knows_the_converter():
    assert not [
        name(path) for path in MODULES if any(f"{one}.".startswith("convert.") for one in imports(path))
    ]


def test_every_package_has_its_floor():
    packages = {path.name for path in ENGINE.iterdir() if (path / "__init__.py").exists()}
    assert packages - {"configs"} <= set(FLOOR)


@pytest.mark.parametrize("path", sorted((ENGINE / "stages").glob("[a-z]*.py")), ids=name)
def test_stages_do_not_know_each_other(path):
    assert not {module for module in imports(path) if module.startswith("danlu.stages")}


def test_vendor_words_stay_in_their_rooms():
    found = [
        f"{name(path)}:{number}: {line.strip()}"
        for path in FILES
        if name(path).startswith(VENDOR_FREE) and not name(path).startswith(VENDOR_ROOMS)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if VENDORS.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("where", "what", "why"), BANNED, ids=[what for _, what, _ in BANNED])
def test_banned(where, what, why):
    pattern = re.compile(what, re.MULTILINE)
    found = [name(path) for path in FILES if re.search(where, name(path)) and pattern.search(read(path))]
    assert not found, f"{why}: {found}"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def test_every_module_says_what_it_is_for():
    assert not [
        name(path) for path in PYTHON if read(path).strip() and not ast.get_docstring(ast.parse(read(path)))
    ]


def test_every_script_says_what_it_is_for():
    assert not [name(path) for path in SHELL if not re.match(r"#.*\n# \w", read(path))]


def test_no_file_is_too_long():
    long = [f"{name(path)}: {len(read(path).splitlines())}" for path in PYTHON + SHELL]
    assert not [line for line in long if int(line.rpartition(" ")[2]) > LONGEST], "make two files of it"


def test_no_drawers():
    assert not [name(path) for path in FILES if {path.stem, *path.relative_to(ROOT).parts} & DRAWERS]
