"""A configuration is read strictly: every mistake gets the file, the key, the value and a way out."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from danlu.base import config
from danlu.base.config import Section
from danlu.base.errors import UserError


class Optim(Section):
    lr: float = 5e-4
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the moments."""


class Config(Section):
    optim: Optim = Optim()
    steps: int | None = Field(default=None, ge=1)
    """How many."""
    kind: Literal["a", "b"] = "a"
    """Which."""
    start: str = Field(default="", alias="from")
    """Where from."""


def read(tmp_path, text, *words):
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    return config.load(Config, tmp_path / "run.yaml", words)


def test_words_win_over_the_file_and_the_file_over_defaults(tmp_path):
    cfg = read(tmp_path, "optim: {lr: 1e-5}\nsteps: 3\n", "steps=7", "from=out/x")
    assert (cfg.optim.lr, cfg.steps, cfg.kind, cfg.start) == (1e-5, 7, "a", "out/x")


def test_a_dumped_configuration_gives_itself_again(tmp_path):
    cfg = read(tmp_path, "optim: {lr: 3, betas: [0.8, 0.9]}\nfrom: out/模型\n")
    (tmp_path / "again.yaml").write_text(config.dump(cfg), encoding="utf-8")
    assert config.load(Config, tmp_path / "again.yaml") == cfg


@pytest.mark.parametrize(
    ("text", "words", "problem", "hint"),
    [
        ("optim: {lrr: 1}", (), "run.yaml: optim.lrr: unknown key", "did you mean 'optim.lr'?"),
        ("", ("optim.lrr=1",), "the command line: optim.lrr: unknown key", "did you mean 'optim.lr'?"),
        ("stepz: 1", (), "stepz: unknown key", "did you mean 'steps'?"),
        ("steps: true", (), "steps: ", "steps=VALUE"),
        ("steps: 1.5", (), "found 1.5", ""),
        ("steps: 0", (), "greater than or equal to 1 (found 0)", ""),
        ("optim: {lr: fast}", (), "optim.lr: input should be a valid number (found 'fast')", ""),
        ("kind: c", (), "found 'c'", "'a' or 'b'"),
        ("optim: 3", (), "optim: ", ""),
        ("steps: 1\nsteps: 2", (), "run.yaml:2: steps: written twice", "keep one"),
        ("a: [1", (), "not valid YAML", ""),
        ("- 1", (), "holds list", ""),
        ("", ("steps",), "'steps' is not a setting", "key=value"),
        ("", ("steps.y=2",), "the command line: steps: ", ""),
    ],
)
def test_every_mistake_is_named(tmp_path, text, words, problem, hint):
    with pytest.raises(UserError) as caught:
        read(tmp_path, text, *words)
    assert problem in caught.value.problem
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        config.load(Config, tmp_path / "absent.yaml")


def test_every_key_has_a_line_of_help():
    assert [(key.key, key.help) for key in config.fields(Config)] == [
        ("optim.lr", "Peak learning rate."),
        ("optim.betas", "Decay of the moments."),
        ("steps", "How many."),
        ("kind", "Which."),
        ("from", "Where from."),
    ]


@pytest.mark.parametrize("text", ["1e-5", "1E5", "-2e3", "1.5e-4", ".5", "3"])
def test_numbers_are_read_as_people_write_them(text):
    assert config.override({}, [f"optim.lr={text}"])["optim"]["lr"] == float(text)


class Item(Section):
    name: str
    """What it is called."""
    weight: float = 1.0
    """How much of it."""


class Nested(Section):
    items: tuple[Item, ...] = ()
    """Several of them."""
    names: dict[str, str] = {}
    """Ours: theirs."""
    streamed: bool = False
    """A name that begins like that of a type."""
    packing: bool | Literal["tight"] = True
    """On, off, or more."""


def test_keys_of_free_names_and_lists_of_sections_are_read_from_file_and_words(tmp_path):
    (tmp_path / "run.yaml").write_text("items: [{name: a, weight: 2}, {name: b}]\nnames: {text: body}\n")
    cfg = config.load(Nested, tmp_path / "run.yaml", ["names.label=kind"])
    assert cfg.names == {"text": "body", "label": "kind"}
    assert cfg.items == (Item(name="a", weight=2.0), Item(name="b"))
    (tmp_path / "again.yaml").write_text(config.dump(cfg))
    assert config.load(Nested, tmp_path / "again.yaml") == cfg


@pytest.mark.parametrize(
    ("word", "problem", "hint"),
    [
        ("streamed=7", "streamed: input should be a valid boolean (found 7)", "streamed=VALUE"),
        ("streams=7", "streams: unknown key", "did you mean 'streamed'?"),
        ("packing=loose", "packing: input should be 'tight' (found 'loose')", "true, false or 'tight'"),
        ("items=[{name: a, wait: 1}]", "items.0.wait: unknown key", "did you mean 'weight'?"),
        ("items=[{weight: 1}]", "items.0.name: is required", "items.0.name=VALUE"),
        ("items=[{name: a, weight: x}]", "items.0.weight: input should be a valid number", "items.0.weight"),
        ("names.text=7", "names.text: input should be a valid string (found 7)", "names.text=VALUE"),
    ],
)
def test_mistakes_inside_lists_and_free_names_are_named(word, problem, hint):
    with pytest.raises(UserError) as error:
        config.load(Nested, None, [word])
    assert problem in error.value.problem
    assert hint in error.value.hint


def test_types_of_lists_and_free_names_are_shown_as_people_write_them():
    shown = {key.key: key.type for key in config.fields(Nested)}
    assert shown["items"] == "list of {name, weight}"
    assert shown["names"] == "{str: str}"
    assert shown["packing"] == "bool or tight"
