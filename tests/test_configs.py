"""Every configuration loads; every version stands once, and fits what pyproject.toml allows."""

import re

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from danlu.base import config
from danlu.model.config import architecture, resolve
from danlu.stages import NO_STAGES, STAGES, find, load_stage
from shell import ROOT

MODELS = sorted(path.stem for path in ROOT.glob("configs/model/*.yaml"))
RUNS = sorted(path.stem for path in ROOT.glob("configs/*.yaml") if path.stem not in NO_STAGES)
MATRIX = yaml.safe_load((ROOT / "configs/matrix.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RUNS)
def test_a_run_loads_with_its_stages_keys(name):
    path, stage = find(name)
    cfg = config.load(load_stage(stage).Config, path)
    again = config.parse(config.dump(cfg))
    assert config.check(type(cfg), again, "its own dump") == cfg


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/starter/*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_of_the_starter_is_that_of_its_stage(path):
    ours, theirs = (
        config.load(load_stage(stage).Config, file) for file, stage in map(find, (str(path), path.stem))
    )
    assert (ours.stage, ours.weight) == (theirs.stage, theirs.weight)
    assert all(file.startswith("data/starter/") for file in ours.data.train)


def test_every_stage_has_a_run_of_its_name():
    assert set(STAGES) <= set(RUNS)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_resolves_and_leaves_as_a_published_architecture(name):
    assert architecture(resolve(name))


def allowed() -> list[Requirement]:
    """What pyproject.toml asks for, extras included. (A regular expression: Python 3.10 reads no TOML.)"""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(
        r"^(?:requires|dependencies|convert|data|serve|mcp|track|test) = \[(.*?)\]$",
        text,
        re.MULTILINE | re.DOTALL,
    )
    return [Requirement(word) for each in lists for word in re.findall(r'"([^"]+)"', each)]


@pytest.mark.parametrize("asked", allowed(), ids=str)
def test_what_we_ask_for_is_pinned_and_the_pin_is_allowed(asked):
    name = canonicalize_name(asked.name)
    pins = list(MATRIX["torch"].values()) if name == "torch" else [MATRIX["packages"][name]]
    pins += [MATRIX["python_3_10"][name]] if name in MATRIX["python_3_10"] else []
    assert all(asked.specifier.contains(pin) for pin in pins)


def test_versions_and_addresses_are_text_and_stand_once():
    assert all(isinstance(value, str) for section in MATRIX.values() for value in section.values())
    assert not set(MATRIX["packages"]) & set(MATRIX["beneath"])
    for path in [ROOT / "run_all.sh", *ROOT.glob("launch/*.sh")]:
        assert not re.search(r"https?://|==\d", path.read_text(encoding="utf-8")), path
