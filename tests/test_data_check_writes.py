"""`danlu data check`: wrong calls are refused, and nothing is written over unless so wished."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from danlu import cli
from danlu.data_check import command


def ask(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


CLEAN = [ask(f"{n} times {n}?", f"It is {n * n}, which has {len(str(n * n))} digits") for n in (3, 17, 480)]


def write(path, *rows):
    """One row a line; a text is a line as it stands."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return str(path)


@pytest.fixture
def check(capsys):
    """Call the command; return its exit code and what it said."""

    def call(*words):
        with pytest.raises(SystemExit) as left:
            cli.main(["data", "check", *map(str, words)])
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return call


def test_fix_never_writes_over_what_is_there(check, tmp_path):
    path = write(tmp_path / "a.jsonl", *CLEAN)
    (tmp_path / "a.fixed.jsonl").write_text("mine")
    code, out, err = check(path, "--fix")
    assert code == 2 and "is there already" in err and out == ""
    assert (tmp_path / "a.fixed.jsonl").read_text() == "mine"
    assert check(path, "--fix", "--force")[0] == 0
    assert len((tmp_path / "a.fixed.jsonl").read_text(encoding="utf-8").splitlines()) == len(CLEAN)


def test_fix_and_quarantine_share_what_was_bad(check, tmp_path):
    path, aside = write(tmp_path / "a.jsonl", '{"text": "a",}', '{"text": ""}'), tmp_path / "bad.jsonl"
    check(path, "--fix", "--quarantine", aside)
    assert (tmp_path / "a.fixed.jsonl").read_text() == '{"text": "a"}\n'
    assert [json.loads(line)["line"] for line in aside.read_text().splitlines()] == [2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing argument"),
        (["A", "--for", "chatt"], "chatt"),
        (["A", "nosuch.jsonl"], "nosuch.jsonl: no such file"),
        (["A", "--against", "nosuch.jsonl"], "nosuch.jsonl: no such file"),
        (["A", "EMPTY"], "no file in it can be read"),
        (["A", "B/*.csv"], "no file is like this"),
        (["A", "x.docx"], "'.docx' cannot be read"),
        (["A", "--quarantine", "A", "--force"], "one of the files"),
        (["B", "--quarantine", "B/b.jsonl", "--force"], "one of the files"),
        (["B/*.jsonl", "--quarantine", "EMPTY/../more/b.jsonl", "--force"], "one of the files"),
        (["A", "--against", "B", "--quarantine", "B/b.jsonl", "--force"], "one of the files"),
        (["A", "--fix", "--quarantine", "FIXED", "--force"], "one of the files"),
        (["A", "--quarantine", "B/b.jsonl"], "is there already"),
        (["A", "A2", "--fix", "--force"], "one of the files"),
        (["A", "--seq-len", "0"], "--seq-len"),
        (["A", "--tokenizer", "nowhere"], "no such folder"),
        (["A", "--fields", "text"], "is not OURS=THEIRS"),
        (["A", "--quarantine", "A"], "one of the files"),
        (["A", "--fields", "a.b=c"], "there is no 'a.b'"),
        (["A", "--encoding", "latin-1"], "--encoding"),
        (["A", "--nope"], "--nope"),
    ],
)
def test_a_wrong_call_is_two_lines_and_exit_2(words, said, check, tmp_path, monkeypatch):
    write(tmp_path / "a.jsonl", *CLEAN)
    (tmp_path / "more").mkdir()
    (tmp_path / "empty").mkdir()
    write(tmp_path / "more" / "b.jsonl", *CLEAN)
    (tmp_path / "x.docx").touch()
    if "A2" in words:
        write(tmp_path / "a.fixed.jsonl", *CLEAN)
    parts = {"A": "a.jsonl", "A2": "a.fixed.jsonl", "FIXED": "a.fixed.jsonl", "B": "more", "EMPTY": "empty"}
    there = {name: name.read_bytes() for name in tmp_path.rglob("*.jsonl")}
    named = ["/".join([parts.get(first, first), *rest]) for first, *rest in (w.split("/") for w in words)]
    monkeypatch.chdir(tmp_path)
    code, _, err = check(*named)
    assert {name: name.read_bytes() for name in tmp_path.rglob("*.jsonl")} == there
    assert code == 2 and said in err and len(err.strip().splitlines()) == 2


def test_a_quarantine_that_is_there_is_replaced_if_so_wished(check, tmp_path):
    path, aside = write(tmp_path / "a.jsonl", "{"), tmp_path / "bad.jsonl"
    aside.write_text("mine")
    assert check(path, "--quarantine", aside)[0] == 2 and aside.read_text() == "mine"
    assert check(path, "--quarantine", aside, "--force")[0] == 1
    assert json.loads(aside.read_text())["raw"] == "{"


def test_what_is_set_aside_of_a_table_has_the_problem_that_was_told(check, tmp_path):
    path, aside = tmp_path / "a.csv", tmp_path / "bad.jsonl"
    path.write_text("text,n\nfine,1\nshort\n,2\n")
    told = check(path, "--for", "pretrain", "--fix", "--quarantine", aside)[1].splitlines()
    rows = [json.loads(line) for line in aside.read_text().splitlines()]
    assert [row["line"] for row in rows] == [3, 4] and "has 1 field; " in rows[0]["problem"]
    for row in rows:
        assert f"{path}:{row['line']}: {row['problem']}; {row['remedy']}" in told


def test_what_was_mended_is_no_data_when_the_folder_is_checked_again(check, tmp_path):
    write(tmp_path / "a.jsonl", *CLEAN)
    assert check(tmp_path, "--fix")[0] == 0
    assert json.loads(check(tmp_path, "--json")[1])["files"] == [str(tmp_path / "a.jsonl")]


def test_the_help_names_purposes_and_defaults():
    words = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "[pretrain|chat|" in words and "1000 bad rows, 5 remarks" in words


def test_a_wrong_kind_of_value_is_told_with_a_whole_phrase(check, tmp_path):
    out = check(write(tmp_path / "a.jsonl", {"text": 3}))[1]
    assert "text: found a number; must be a string" in out
