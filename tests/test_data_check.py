"""`danlu data check`: what is planted is found with its place, clean data is left alone, nothing is lost."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import pytest

from danlu import cli
from danlu.base.errors import UserError
from danlu.data.encode import KINDS, Options, Tally
from danlu.data.sources import Source
from danlu.tokenizer.tokenizer import Tokenizer


def ask(question, answer, **more):
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **more}]
    return {"conversations": said}


CLEAN = [
    ask("今天天气怎么样？", "今天晴，气温二十度，适合出门散步。"),
    ask("How do I boil an egg?", "Put it into boiling water for eight minutes, then cool it."),
    ask("写一首关于秋天的短诗。", "秋风起，落叶黄，一行大雁向南方。"),
    ask("What is 12 + 30?", "12 + 30 = 42."),
    ask("Wie spät ist es?", "Es ist „zehn nach fünf“ – ungefähr."),
    ask("« Où est le café ? »", "À côté de l'église… 👨‍👩‍👧"),
    ask("Write a loop.", "for i in range(3):\n\tprint(i)"),
    ask("介绍一下丹炉。", "丹炉是一个从文本到对齐模型的工具。"),
]


def write(path, *rows):
    """One row a line; a text is a line as it stands."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
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


@pytest.fixture
def found(check):
    """Call the command with --json; return the object."""

    def call(*words):
        code, out, _ = check(*words, "--json")
        answer = json.loads(out)
        assert answer["exit_code"] == code
        return answer

    return call


def places(answer, kind):
    return [one["line"] for one in answer["findings"] if one["kind"] == kind]


def test_clean_data_has_nothing(check, found, tmp_path):
    path = write(tmp_path / "a.jsonl", *CLEAN)
    code, out, _ = check(path, "--for", "chat", "--strict")
    assert code == 0
    assert out.splitlines()[-1] == "8 rows, 0 bad, 0 remarks: nothing bad; exit code 0"
    assert "found: sft chat, 8 rows" in out
    assert found(path)["findings"] == []


BAD = {
    2: '{"conversations": [',
    4: '{"conversations": []}',
    5: "[1]",
    7: json.dumps({"conversations": [{"role": "assistant", "content": ""}]}),
    8: json.dumps({"conversations": [{"role": "bot", "content": "x"}]}),
    10: json.dumps({"text": "for pretrain"}),
}


def planted(path):
    rows = [BAD.get(line) or CLEAN[line % len(CLEAN)] | {"n": line} for line in range(1, 12)]
    return write(path, *rows)


def test_every_bad_row_is_told_with_the_words_of_training(check, tmp_path):
    path = planted(tmp_path / "a.jsonl")
    code, out, _ = check(path, "--for", "chat")
    assert code == 1 and "exit code 1" in out.splitlines()[-1]
    for line in BAD:
        [said] = [one for one in out.splitlines() if one.startswith(f"{path}:{line}: ")]
        alone = write(tmp_path / "alone.jsonl", BAD[line])
        with pytest.raises(UserError) as error:
            list(Source([alone], "chat"))
        problem = error.value.problem.removeprefix(f"{alone}:1: ")
        assert said == f"{path}:{line}: {problem}; {error.value.hint}"


def test_bad_rows_of_one_kind_are_all_told_unless_limited(check, tmp_path):
    path = write(tmp_path / "a.jsonl", *(["{"] * 300))
    lines = check(path)[1].splitlines()
    assert sum(line.startswith(f"{path}:") for line in lines) == 300
    lines = check(path, "--limit", "3")[1].splitlines()
    assert sum(line.startswith(f"{path}:") for line in lines) == 3
    assert any("297 more" in line for line in lines)


ODD = [
    ("control characters", ask("a\x00b", "x")),
    ("control characters", ask("ok", "\x1b[31mred")),
    ("zero-width characters", ask("a\u200bb", "x")),
    ("bidi characters", ask("a\u202eb", "x")),
    ("carriage returns", ask("a\r\nb", "x")),
    ("lost characters", ask("a", "caf\ufffd")),
    ("mojibake", ask("ä½\xa0å¥½", "x")),
    ("mojibake", ask("浣犲ソ", "x")),
    ("mojibake", ask("x", "锟斤拷")),
    ("typed control tokens", ask("<|im_end|> is a token", "x")),
    ("typed control tokens", ask("and [INST] too", "x")),
    ("nothing learned", ask("teach nothing", "x", loss_mask=0)),
    ("equal rows", CLEAN[1]),
    ("nearly equal rows", ask("How do I boil an egg?", CLEAN[1]["conversations"][1]["content"][:-1])),
    ("repeated ids", CLEAN[3] | {"id": "seven"}),
    ("very long", ask("tell me a lot", "really " * 1000)),
]


@pytest.mark.parametrize(("kind", "row"), ODD, ids=[kind for kind, _ in ODD])
def test_each_oddity_is_told_with_its_line_and_is_no_error(kind, row, found, check, tmp_path):
    first = CLEAN[2] | {"id": "seven"}
    rows = [first, *CLEAN[:2], row, *CLEAN[4:]] if kind != "repeated ids" else [first, *CLEAN[:2], row]
    rows += [ask(f"第{n}个问题是什么？{n * n}", f"answer number {n} of {n**3}") for n in range(20, 28)]
    path = write(tmp_path / "a.jsonl", *rows)
    answer = found(path)
    assert [(one["kind"], one["line"]) for one in answer["findings"]] == [(kind, 4)]
    assert answer["bad"] == 0 and answer["exit_code"] == 0
    assert answer["findings"][0]["problem"] and answer["findings"][0]["remedy"]
    assert check(path, "--strict")[0] == 1


def test_twins_are_named_by_file_and_line(found, tmp_path):
    one, two = write(tmp_path / "a.jsonl", *CLEAN), write(tmp_path / "b.jsonl", CLEAN[6], CLEAN[5])
    answer = found(one, two)
    told = [(f["file"], f["line"], f["problem"]) for f in answer["findings"]]
    assert told == [(two, 1, f"~ {one}:7: the same row"), (two, 2, f"~ {one}:6: the same row")]
    assert answer["repeated"] == {"equal rows": 2}


def test_the_same_chat_in_another_shape_is_the_same_row(found, tmp_path):
    alpaca = {"instruction": "What is 12 + 30?", "input": "", "output": "12 + 30 = 42."}
    assert places(found(write(tmp_path / "a.jsonl", *CLEAN, alpaca)), "equal rows") == [9]


def test_rows_of_the_test_set_that_leaked_are_told(found, tmp_path):
    train = write(tmp_path / "train.jsonl", *CLEAN)
    near = ask("介绍一下丹炉。", "丹炉是一个从文本到对齐模型的工具")
    test = write(tmp_path / "test.jsonl", ask("new", "rows"), CLEAN[4], ask("new", "rows"), near)
    answer = found(train, "--against", test)
    told = [(f["kind"], f["file"], f["line"]) for f in answer["findings"]]
    assert told == [("leaked rows", test, 2), ("nearly leaked rows", test, 4)]
    assert f"{train}:5" in answer["findings"][0]["problem"]
    assert answer["rows"] == 8 and answer["against_rows"] == 4


def test_lengths_are_those_of_training(found, tmp_path):
    path = write(tmp_path / "a.jsonl", *CLEAN, ask("long", "word " * 90))
    tokenizer, tally = Tokenizer.load(), Tally()
    records = [record for _, record in Source([path], "chat")]
    whole = list(KINDS["chat"](tokenizer, list(enumerate(records)), Options(10**6), tally))
    cut = Tally()
    list(KINDS["chat"](tokenizer, list(enumerate(records)), Options(64), cut))
    answer = found(path, "--for", "chat", "--seq-len", "64")
    lengths = [len(sample.ids) for sample in whole]
    assert answer["tokens"]["total"] == sum(lengths)
    assert answer["tokens"]["learned"] == sum(int((sample.weights > 0).sum()) for sample in whole)
    assert answer["tokens"]["lost"] == cut.labels_lost > 0
    assert answer["longer_than_seq_len"] == cut.end_lost + cut.beginning_lost > 0
    too_long = [n + 1 for n, sample in enumerate(whole) if sample.weights[1:].nonzero()[0][-1] >= 64]
    assert places(answer, "too long") == too_long
    for bucket in answer["histogram"]:
        inside = sum(bucket["from"] <= length <= bucket["to"] for length in lengths)
        assert bucket["rows"] == inside
    assert sum(bucket["rows"] for bucket in answer["histogram"]) == len(lengths)


def test_languages_are_counted_apart(found, tmp_path):
    chinese, english = "今天天气很好", "the weather is fine today"
    path = write(tmp_path / "a.jsonl", {"text": chinese}, {"text": english})
    answer, tokenizer = found(path), Tokenizer.load()
    texts = {"Chinese": chinese, "English": english}
    sizes = {name: len(tokenizer.encode(text)) + 2 for name, text in texts.items()}
    assert answer["characters_per_token"]["Chinese"] == pytest.approx(6 / sizes["Chinese"], abs=1e-3)
    assert answer["characters_per_token"]["English"] == pytest.approx(25 / sizes["English"], abs=1e-3)
    assert answer["characters_per_token"]["all"] == pytest.approx(31 / sum(sizes.values()), abs=1e-3)


def test_both_answers_of_a_preference_are_counted(found, tmp_path):
    one, two = CLEAN[0]["conversations"], CLEAN[2]["conversations"]
    pair = {"chosen": one, "rejected": [one[0], two[1]]}
    rows = [{"conversations": chat} for chat in (pair["chosen"], pair["rejected"])]
    both = found(write(tmp_path / "a.jsonl", pair), "--for", "preference", "--seq-len", "8")
    each = (
        found(write(tmp_path / "b.jsonl", *rows), "--for", "prompt"),
        found(write(tmp_path / "c.jsonl", *rows)),
    )
    assert both["tokens"]["total"] == each[1]["tokens"]["total"] > each[0]["tokens"]["total"]
    assert both["tokens"]["longest"] == each[1]["tokens"]["longest"]
    assert both["characters_per_token"]["all"] == each[1]["characters_per_token"]["all"]
    assert places(both, "too long") == [1]


def test_rows_that_serve_several_purposes_are_said_to(check, tmp_path):
    path = write(tmp_path / "a.jsonl", *CLEAN)
    assert "they serve chat, prompt: say which with --for" in check(path)[1]
    assert "they serve" not in check(path, "--for", "chat")[1]


def test_a_file_that_cannot_be_read_stops_no_other(check, tmp_path):
    good = write(tmp_path / "good.jsonl", *CLEAN)
    (tmp_path / "dead.jsonl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty.jsonl").touch()
    packed = gzip.compress((tmp_path / "good.jsonl").read_bytes() * 40)
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "blank.jsonl").write_text("\n \n")
    (tmp_path / "wide.jsonl").write_bytes('{"text": "a"}\n'.encode("utf-16"))
    names = ["dead.jsonl", "empty.jsonl", "cut.jsonl.gz", "blank.jsonl", "wide.jsonl"]
    code, out, _ = check(*(tmp_path / name for name in names), good)
    assert code == 1
    for name in names:
        [said] = [line for line in out.splitlines() if line.startswith(str(tmp_path / name))]
        assert said.count(f"{name}:") == 1 and ";" in said
    assert "found: sft chat" in out
    assert f"{tmp_path / 'blank.jsonl'}: holds no row; put rows in it" in out


def test_folders_lists_and_tables_are_read_and_named_by_their_places(found, tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "a.json").write_text('[{"text": "one"},\n {"text": ""}, {"text": "t\\u200bwo"}]')
    (tmp_path / "all" / "b.csv").write_text("text\nthree\n\u202efour\n", encoding="utf-8")
    (tmp_path / "all" / "c.jsonl").symlink_to("nowhere")
    answer = found(tmp_path / "all", tmp_path / "all" / "b.csv")
    told = {(f["file"].rpartition("/")[2], f["line"], f["field"], f["severity"]) for f in answer["findings"]}
    assert told == {
        ("a.json", 2, "[1].text", "bad"),
        ("a.json", 2, "[2]", "remark"),
        ("b.csv", 3, "", "remark"),
        ("c.jsonl", 0, "", "bad"),
    }
    assert answer["rows"] == 5


def test_a_template_that_cannot_say_a_row_makes_it_bad(found, tmp_path):
    path = write(tmp_path / "a.jsonl", {"text": "fine"}, {"input_ids": [1, 10**9]})
    answer = found(path)
    assert [(one["severity"], one["line"]) for one in answer["findings"]] == [("bad", 2)]
    assert "10" in answer["findings"][0]["problem"]


def test_quarantine_and_good_rows_are_all_rows(check, tmp_path):
    path, aside = planted(tmp_path / "a.jsonl"), tmp_path / "bad.jsonl"
    assert check(path, "--for", "chat", "--quarantine", aside)[0] == 1
    rows = [json.loads(line) for line in aside.read_text(encoding="utf-8").splitlines()]
    assert {row["line"]: row["raw"] for row in rows} == BAD
    assert all(set(row) == {"file", "line", "problem", "remedy", "raw"} for row in rows)
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted([row["line"] for row in rows] + [n for n in range(1, 12) if n not in BAD]) == list(
        range(1, len(lines) + 1)
    )


def test_what_was_fixed_passes(check, found, tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        *CLEAN,
        *BAD.values(),
        *(row for _, row in ODD),
        json.dumps(ask("comma", "too many"))[:-1] + ",}",
        json.dumps(ask("two", "on")) + json.dumps(ask("one", "line")),
    )
    assert check(path, "--for", "chat", "--fix")[0] == 1
    fixed = tmp_path / "a.fixed.jsonl"
    answer = found(fixed, "--for", "chat")
    assert answer["bad"] == 0 and answer["exit_code"] == 0
    assert not {"control characters", "zero-width characters", "bidi characters", "equal rows"} & set(
        answer["counts"]["remark"]
    )
    stood = (tmp_path / "a.jsonl").read_bytes().splitlines()[: len(CLEAN)]
    assert fixed.read_bytes().splitlines()[: len(CLEAN)] == stood


def test_fields_may_be_called_otherwise(found, tmp_path):
    path = write(tmp_path / "a.jsonl", {"body": "a text"})
    assert found(path, "--for", "pretrain")["bad"] == 1
    assert found(path, "--for", "pretrain", "--fields", "text=body")["bad"] == 0


PROBE = """
import sys
from danlu import cli
try:
    cli.main({words})
except SystemExit:
    pass
print([name for name in ("torch", "numpy", "tokenizers", "rich", "pyarrow") if name in sys.modules])
"""


@pytest.mark.parametrize(("words", "there"), [(["--help"], "[]"), (["FILE"], "['numpy', 'tokenizers']")])
def test_it_starts_without_torch(words, there, tmp_path):
    words = ["data", "check", *(write(tmp_path / "a.jsonl", *CLEAN) if w == "FILE" else w for w in words)]
    probe = PROBE.format(words=words)
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == there
