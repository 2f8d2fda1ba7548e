"""Constraints for what pip adds to a Python that has packages already: theirs stay, all else is ours.

    python3 keep.py requirements/

        torch==2.13.0+cpu       it is there
        zstandard==0.25.0       it is not, and this is the version in constraints.txt

A package that is there in a version the engine cannot use is not kept; nor is one of pip's own tools where
something asks for a newer one.
"""

import importlib.metadata
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

TOOLS = ("pip", "setuptools", "wheel")


def lines(file: Path) -> list[Requirement]:
    """The requirements in a file that hold for this Python."""
    found = [Requirement(line) for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return [each for each in found if each.marker is None or each.marker.evaluate()]


def constraints(folder: Path, there: dict[str, str]) -> list[str]:
    """One line a package: of those there, and of those that may come."""
    asked = {
        canonicalize_name(each.name): each.specifier
        for file in sorted(folder.glob("*.txt"))
        if file.name != "constraints.txt"
        for each in lines(file)
    }
    ours = {canonicalize_name(each.name): str(each.specifier) for each in lines(folder / "constraints.txt")}
    kept = {
        name: f"=={version}"
        for name, version in there.items()
        if name not in TOOLS and (name not in asked or asked[name].contains(version, prereleases=True))
    }
    kept |= {name: ours[name].replace("==", "<=") for name in TOOLS if name in there and name in ours}
    return [f"{name}{pin}" for name, pin in sorted((ours | kept).items())]


if __name__ == "__main__":
    installed = {
        canonicalize_name(each.metadata["Name"]): each.version
        for each in reversed(list(importlib.metadata.distributions()))  # the first on the path counts
        if each.metadata["Name"]
    }
    print("\n".join(constraints(Path(sys.argv[1]), installed)))
