"""What tests/conftest.py promises about skipped tests."""

import re
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
PROJECT = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
MARKS = re.findall(r'^  "(\w+): ', PROJECT, re.M)


@pytest.fixture
def suite(pytester, monkeypatch):
    pytester.makeconftest(CONFTEST.replace('pytest_plugins = ["pytester"]', ""))
    pytester.makeini("[pytest]\nmarkers =\n" + "".join(f"  {mark}\n" for mark in MARKS))
    monkeypatch.delenv("CI", raising=False)
    return pytester


def outcome(suite, body: str) -> dict[str, int]:
    suite.makepyfile(test_it=f"import pytest\n{body}")
    return suite.runpytest("-rs", "-p", "no:cacheprovider").parseoutcomes()


def skip(reason: str) -> str:
    return f"def test_it():\n    pytest.skip({reason!r})"


def test_a_missing_tool_is_a_skip_at_home_and_a_failure_in_ci(suite, monkeypatch):
    assert outcome(suite, skip("no such tool")) == {"skipped": 1}
    monkeypatch.setenv("CI", "true")
    assert outcome(suite, skip("no such tool")) == {"failed": 1}


def test_a_module_that_skips_itself_is_seen_too(suite, monkeypatch):
    body = "pytest.importorskip('a_module_nobody_has')"
    assert outcome(suite, body) == {"skipped": 1}
    monkeypatch.setenv("CI", "true")
    assert "skipped" not in outcome(suite, body)


def test_what_is_listed_is_excused_in_ci(suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    assert outcome(suite, skip("no GPU")) == {"skipped": 1}
    expected = "@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False"
    assert outcome(suite, expected) == {"xfailed": 1}


@pytest.mark.parametrize("mark", ["npu", "vllm", "browser", "transformers4"])
def test_a_mark_without_its_environment_says_how_to_make_it(suite, mark):
    suite.makepyfile(test_it=f"import pytest\n@pytest.mark.{mark}\ndef test_it():\n    pass")
    result = suite.runpytest("-rs")
    result.stdout.fnmatch_lines([f"SKIPPED*bash run_all.sh setup --with {mark}"])
