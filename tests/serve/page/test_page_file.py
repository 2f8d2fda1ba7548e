"""The page as a file: whole in itself, safe by its own policy, and of one mind with the engine."""

import base64
import hashlib
import json
import re

import pytest

from danlu.evaluate.tools import metrics, settings, talk
from danlu.tools import classic
from scripted_peer import PAGE

HTML = PAGE.read_text(encoding="utf-8")
SCRIPT = re.findall(r"<script>(.*?)</script>", HTML, re.DOTALL)
EVALUATE = PAGE.parents[2] / "evaluate/tools"


def data(name: str):
    """What lies in the page as JSON."""
    return json.loads(
        re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', HTML, re.DOTALL)[0]
    )


def colours(theme: str) -> dict[str, str]:
    block = re.findall(rf':root\[data-theme="{theme}"\] \{{(.*?)\}}', HTML, re.DOTALL)[0]
    return dict(re.findall(r"--([\w-]+): (#\w{6});", block))


def light(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_policy_lets_this_script_run_and_no_other():
    assert len(SCRIPT) == 1
    found = base64.b64encode(hashlib.sha256(SCRIPT[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{found}';" in HTML, f"the script has changed; its hash is sha256-{found}"
    assert "default-src 'none'" in HTML and "script-src 'unsafe" not in HTML


def test_nothing_is_fetched_to_show_the_page():
    foreign = re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)[^"']*|@import|url\((?!["']?data:)""", HTML)
    assert not foreign


@pytest.mark.parametrize(
    "way", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
)
def test_no_text_can_become_markup_or_code(way):
    assert way not in SCRIPT[0]


def test_its_tools_and_tables_are_those_of_the_engine():
    assert data("world") == classic.world()
    assert data("tools") == classic.toolbox().definitions()


def test_its_cases_are_the_classic_ones():
    lines = (EVALUATE / "classic.jsonl").read_text(encoding="utf-8").splitlines()
    assert data("cases") == [json.loads(line) for line in lines]


def test_it_counts_what_the_evaluation_counts_and_asks_in_the_same_way():
    named = re.findall(
        r"^  (\w+): \[\(one\) =>",
        re.findall(r"const METRICS = \{(.*?)^\}", SCRIPT[0], re.DOTALL | re.M)[0],
        re.M,
    )
    assert named == list(metrics.METRICS)[:5]
    sampling = re.findall(r"const EVAL_SAMPLING = (\{.*?\});", SCRIPT[0])[0]
    assert json.loads(re.sub(r"(\w+):", r'"\1":', sampling)) == settings.Settings().as_body()
    openings = re.findall(r"const OPENINGS = (\[.*?\]);", SCRIPT[0], re.DOTALL)[0]
    assert json.loads(openings) == list(talk.OPENINGS)
    assert f"const ROUNDS = {talk.ROUNDS};" in SCRIPT[0]


def test_every_word_is_there_in_both_languages():
    english, chinese = re.findall(r"^  (?:en|zh): \{(.*?)^  \}", SCRIPT[0], re.DOTALL | re.MULTILINE)
    words = [set(re.findall(r"(?<![\w\"])(\w+): \"", part)) for part in (english, chinese)]
    assert words[0] == words[1] and len(words[0]) > 100
    used = set(re.findall(r"data-(?:t|label|placeholder)=\"(\w+)\"", HTML)) | set(
        re.findall(r"\bt\(\"(\w+)\"", SCRIPT[0])
    )
    used |= set(re.findall(r"\bt[lp]?: \"(\w+)\"", SCRIPT[0]))
    assert not used - words[0]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "card", "sunk"])
@pytest.mark.parametrize("ink", ["ink", "soft", "faint", "accent", "good", "bad", "warn"])
def test_text_can_be_read_by_weak_eyes(theme, ground, ink):
    known = colours(theme)
    dark, bright = sorted([light(known[ink]), light(known[ground])])
    assert (bright + 0.05) / (dark + 0.05) >= 4.5
