"""`danlu tokenizer` from the command line: what is written, what is said, what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import subprocess
import sys

import pytest

from danlu import cli
from danlu.model import weights
from danlu.model.build import build
from danlu.model.config import resolve
from danlu.tokenizer.tokenizer import STARTER, Tokenizer
from danlu.tokenizer_texts import Texts

LINES = ["炼丹炉里炼丹，丹炉旁炼丹。", "The alchemist's furnace burns: furnaces burn.", "春天来了，花开了。"]
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def danlu(*words):
    with pytest.raises(SystemExit) as left:
        cli.main(["tokenizer", *map(str, words)])
    return left.value.code


def works(*words):
    cli.main(["tokenizer", *map(str, words)])


def text_file(path, times=4):
    path.write_text("".join(f"{line}\n" for line in LINES * times), encoding="utf-8")
    return path


def rows(path, values):
    path.write_text("".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    """Finished weights with the starter tokenizer."""
    made = tmp_path / "model"
    made.mkdir()
    cfg = resolve({**TINY, "num_key_value_heads": 2, "vocab_size": 2048, "qk_norm": True})
    weights.save(build(cfg).state_dict(), cfg, made)
    Tokenizer.load("starter").save(made)
    return made


def test_training_writes_a_tokenizer_and_prints_its_report(tmp_path, capsys):
    text = text_file(tmp_path / "a.txt")
    works("train", "--text", text, "--size", 300, "--out", tmp_path / "own", "--special", "<|tool|>")
    made = Tokenizer.load(tmp_path / "own")
    assert made.size == 300
    assert [made.token_id(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|tool|>")] == [
        0,
        1,
        2,
        3,
    ]
    assert (made.pad_id, made.bos_id, made.eos_id) == (0, 1, 2)
    assert made.token_id(made.token_text(299)) == 299
    said = capsys.readouterr()
    assert "300 tokens, 4 of them control" in said.out and "round trip: emoji" in said.out
    assert "read 12 rows" in said.err


def trained(folder, *paths, **env):
    command = [sys.executable, "-m", "danlu", "tokenizer", "train", "--size", "300", "--out", str(folder)]
    paths = [word for path in paths for word in ("--text", str(path))]
    subprocess.run([*command, *paths], env={**os.environ, **env}, check=True, capture_output=True)
    return [(folder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")]


def test_the_same_text_gives_the_same_bytes_whatever_the_threads_and_the_hash_seed(tmp_path):
    text = text_file(tmp_path / "a.txt", 30)
    path = ":".join(sys.path)
    once = trained(tmp_path / "1", text, PYTHONPATH=path, PYTHONHASHSEED="1", RAYON_NUM_THREADS="1")
    again = trained(tmp_path / "2", text, PYTHONPATH=path, PYTHONHASHSEED="2", RAYON_NUM_THREADS="4")
    alone = trained(tmp_path / "3", text, PYTHONPATH=path, TOKENIZERS_PARALLELISM="false")
    assert once == again == alone


def test_the_same_text_in_other_formats_gives_the_same_tokenizer(tmp_path):
    chat = [{"role": "user", "content": LINES[0]}, {"role": "assistant", "content": LINES[1]}]
    values = [{"messages": chat, "tools": [{"name": "furnace"}]}, {"text": LINES[2]}, {"body": LINES[2]}] * 6
    values = [v for v in values if "body" not in v]
    flat = [
        text
        for v in values
        for text in ([LINES[0], LINES[1], '{"name": "furnace"}'] if "messages" in v else [LINES[2]])
    ]
    mixed = rows(tmp_path / "mixed.jsonl", values)
    plain = rows(tmp_path / "plain.jsonl", [{"text": text} for text in flat])
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    renamed = rows(tmp_path / "renamed.jsonl", [{"body": text} for text in flat])
    found = []
    for number, words in enumerate([[mixed], [plain], [packed], [renamed, "--fields", "text=body"]]):
        works("train", "--text", *words, "--size", 300, "--out", tmp_path / f"{number}")
        found.append((tmp_path / f"{number}" / "tokenizer.json").read_bytes())
    assert found == found[:1] * 4


def test_several_files_are_read_one_after_the_other(tmp_path):
    a, b = text_file(tmp_path / "a.txt", 2), text_file(tmp_path / "b.txt", 3)
    both = text_file(tmp_path / "both.txt", 5)
    works("train", "--text", a, b, "--size", 300, "--out", tmp_path / "1")
    works("train", "--text", a, "--text", b, "--size", 300, "--out", tmp_path / "2")
    works("train", "--text", both, "--size", 300, "--out", tmp_path / "3")
    assert len({(tmp_path / n / "tokenizer.json").read_bytes() for n in "123"}) == 1


def test_rows_are_sampled_evenly(tmp_path):
    texts = ["aaaa aaaa", "bbbb bbbb", "cccc cccc", "dddd dddd"]
    every = rows(tmp_path / "every.jsonl", [{"text": text} for text in texts * 5])
    odd = rows(tmp_path / "odd.jsonl", [{"text": text} for text in [texts[1], texts[3]] * 5])
    works("train", "--text", every, "--size", 263, "--sample-rows", 10, "--out", tmp_path / "1")
    works("train", "--text", odd, "--size", 263, "--out", tmp_path / "2")
    assert (tmp_path / "1/tokenizer.json").read_bytes() == (tmp_path / "2/tokenizer.json").read_bytes()


def test_of_much_text_as_much_is_taken_as_is_enough(tmp_path, capsys):
    texts = ["aaaa aaaa", "bbbb bbbb", "cccc cccc", "dddd dddd"]
    file = rows(tmp_path / "every.jsonl", [{"text": text} for text in texts * 50])
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    for path in (file, packed):
        every = Texts((str(path),), (), (), "auto", "line", None)
        assert every.enough(1800) is every
        assert list(every.enough(900)) == [texts[1], texts[3]] * 50
        chosen = dataclasses.replace(every, sample_rows=3)
        assert chosen.enough(90) is chosen
        capsys.readouterr()


def test_another_tokenizer_is_replaced_only_by_force(tmp_path, capsys):
    a = text_file(tmp_path / "a.txt")
    b = tmp_path / "b.txt"
    b.write_text("other words, other merges. other words, other merges.\n" * 4)
    out = tmp_path / "own"
    works("train", "--text", a, "--size", 270, "--out", out)
    before = (out / "tokenizer.json").read_bytes()
    works("train", "--text", a, "--size", 270, "--out", out)
    for size in (270, 271):
        assert danlu("train", "--text", b, "--size", size, "--out", out) == 2
        assert "holds another tokenizer" in capsys.readouterr().err
        assert (out / "tokenizer.json").read_bytes() == before
    works("train", "--text", b, "--size", 270, "--out", out, "--force")
    assert (out / "tokenizer.json").read_bytes() != before


def test_a_report_is_printed_and_read_by_machines(tmp_path, capsys):
    text = text_file(tmp_path / "a.txt")
    works("report", "starter", "--text", text)
    assert "unused on these texts" in capsys.readouterr().out
    works("report", STARTER, "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["size"] == 2048 and said["failures"] == [] and said["unused"] is None
    assert said["compression"]["English"]["characters_per_token"] > 1


def test_a_tokenizer_that_loses_text_makes_the_command_fail(tmp_path, capsys):
    layout = json.loads((STARTER / "tokenizer.json").read_text(encoding="utf-8"))
    layout["decoder"] = {
        "type": "Sequence",
        "decoders": [layout["decoder"], {"type": "Replace", "pattern": {"String": "。"}, "content": ""}],
    }
    broken = tmp_path / "broken"
    Tokenizer.load("starter").save(broken)
    (broken / "tokenizer.json").write_text(json.dumps(layout), encoding="utf-8")
    assert danlu("report", broken) == 1
    assert "FAIL round trip: Chinese" in capsys.readouterr().out


def test_extending_and_trimming_give_weights_that_load(folder, tmp_path, capsys):
    text = text_file(tmp_path / "a.txt")
    works("extend", folder, "--text", text, "--size", 2058, "--out", tmp_path / "more")
    assert Tokenizer.load(tmp_path / "more").size == 2058
    assert weights.read_config(tmp_path / "more").vocab_size == 2112
    words = tmp_path / "words.txt"
    words.write_text("炼金\n\nalchemists\n", encoding="utf-8")
    works(
        "extend",
        folder,
        "--tokens",
        words,
        "--special",
        "<|tool|>",
        "--out",
        tmp_path / "words",
        "--init",
        "noise",
    )
    added = Tokenizer.load(tmp_path / "words")
    assert added.size == 2051 and added.control["<|tool|>"]["id"] == 2050
    assert len(added.encode("炼金")) == 1
    works(
        "trim",
        tmp_path / "more",
        "--text",
        text,
        "--keep",
        500,
        "--multiple-of",
        128,
        "--out",
        tmp_path / "less",
    )
    less = Tokenizer.load(tmp_path / "less")
    assert less.size == 500 and weights.read_config(tmp_path / "less").vocab_size == 512
    assert [less.decode(less.encode(line)) for line in LINES] == LINES
    assert weights.read_state(tmp_path / "less")["model.embed_tokens.weight"].shape == (512, 16)
    assert "500 of 2,058 tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (["tran"], "there is no command 'tran'", "'train'"),
        (["train", "--text", "{text}"], "where shall the tokenizer go?", "--out"),
        (["train", "--text", "{text}", "--size", "258", "--out", "{new}"], "size 258", "259 or more"),
        (
            ["train", "--text", "{text}", "--size", "259", "--special", "<x>", "--out", "{new}"],
            "size 259",
            "260",
        ),
        (
            ["train", "--text", "{text}", "--special", "<|im_end|>", "--out", "{new}"],
            "is there already",
            "once",
        ),
        (["train", "--text", "{text}", "--size", "9000", "--out", "{new}"], "9000 were asked for", "fewer"),
        (["train", "--text", "nothing.jsonl", "--out", "{new}"], "nothing.jsonl", ""),
        (["train", "--text", "{bad}", "--out", "{new}"], "bad.jsonl:2", ""),
        (["train", "--text", "{text}", "--size", "300", "--out", "{text}"], "is not a folder", ""),
        (["train", "--text", "{text}", "--fields", "text", "--out", "{new}"], "--fields text", "text=body"),
        (["report", "nowhere"], "no such folder", "starter"),
        (["report", "starter", "{text}"], "what is", "--text"),
        (["extend", "nowhere", "--special", "<x>", "--out", "{new}"], "no such folder", "out/NAME"),
        (["extend", "{model}", "--out", "{new}"], "what shall be added?", "--tokens"),
        (["extend", "{model}", "--text", "{text}", "--out", "{new}"], "how many tokens", "--size"),
        (
            ["extend", "{model}", "--text", "{text}", "--size", "2048", "--out", "{new}"],
            "has 2048",
            "more than",
        ),
        (["extend", "{model}", "--special", "<x>", "--out", "{model}"], "is the model itself", "--out"),
        (["extend", "{model}", "--special", "<x>", "--init", "zero", "--out", "{new}"], "'zero'", "mean"),
        (["extend", "{model}", "--special", "<x>", "--size", "9", "--out", "{new}"], "--size says", "--text"),
        (["train", "--text", "{text}", "--special", "a", "--out", "{new}"], "would steer", "signs"),
        (
            ["train", "--text", "{text}", "--size", "300", "--special", "urn", "--out", "{new}"],
            "'urn': whoever types it",
            "signs",
        ),
        (["train", "--text", "{text}", "--size", "300", "--out", "{full}"], "holds mine", "--out"),
        (["train", "--text", "{text}", "--size", "300", "--out", "{model}"], "holds config.json", "--out"),
        (["extend", "{model}", "--special", "<|im_end|>", "--out", "{new}"], "there already", "others"),
        (["extend", "{model}", "--tokens", "{empty}", "--out", "{new}"], "names no words", "one a line"),
        (["trim", "{model}", "--out", "{new}"], "which text", "--text"),
        (
            ["trim", "{model}", "--text", "{text}", "--keep", "9", "--out", "{new}"],
            "cannot be left out",
            "more",
        ),
        (["trim", "{model}", "--text", "{text}", "--out", "{full}"], "is there already", "--force"),
    ],
)
def test_mistakes_get_two_lines_and_leave_nothing(words, problem, hint, folder, tmp_path, capsys):
    names = {"text": text_file(tmp_path / "a.txt"), "new": tmp_path / "new", "model": folder}
    names["bad"] = rows(tmp_path / "bad.jsonl", [{"text": "ok"}, {"text": 3}])
    names["empty"] = tmp_path / "empty.txt"
    names["empty"].write_text("\n\n")
    names["full"] = tmp_path / "full"
    names["full"].mkdir()
    (names["full"] / "mine").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    assert danlu(*(word.format(**names) for word in words)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("read ")]
    assert len(said) == 2, said
    assert said[0].startswith("error: ") and problem in said[0]
    assert said[1].startswith("  try: ") and hint in said[1]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["extend", "trim", "extend words"])
def test_force_never_touches_the_model_what_is_read_or_the_current_folder(
    command, folder, tmp_path, capsys, monkeypatch
):
    texts, other = tmp_path / "texts", tmp_path / "here"
    texts.mkdir(), other.mkdir()
    text = text_file(texts / "a.txt")
    (other / "inner").mkdir()
    monkeypatch.chdir(other / "inner")
    (tmp_path / "link").symlink_to(folder)
    given = {
        "extend": ["extend", folder, "--text", text, "--size", 2050],
        "trim": ["trim", folder, "--text", text],
        "extend words": ["extend", folder, "--tokens", text],
    }[command]
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    for out, problem in (
        (folder, "is the model itself"),
        (tmp_path, "holds the model"),
        (folder / "deep" / "new", "lies inside the model"),
        (tmp_path / "link", "is a link"),
        (texts, "holds what is read"),
        (text, "holds what is read"),
        (other, "is or holds the current folder"),
        (other / "inner", "is or holds the current folder"),
    ):
        assert danlu(*given, "--out", out, "--force") == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 2 and problem in said[0], said
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_force_replaces_finished_weights_and_nothing_else(folder, tmp_path, capsys):
    text, out = text_file(tmp_path / "a.txt"), tmp_path / "out"
    words = ["trim", folder, "--text", text, "--out", out]
    works(*words)
    first = Tokenizer.load(out).size
    assert danlu(*words) == 2
    (out / ".run.json.writing-4711").write_text("left by a killed writer")
    works(*words, "--keep", 500, "--force")
    assert Tokenizer.load(out).size == 500 != first
    (out / "notes.md").write_text("mine")
    (out / "sub.safetensors").mkdir()
    capsys.readouterr()
    for name in ("notes.md", "sub.safetensors"):
        assert danlu(*words, "--force") == 2
        assert f"holds {name}, which is no part" in capsys.readouterr().err
        (out / name).unlink() if (out / name).is_file() else (out / name).rmdir()
    (out / "model.safetensors").unlink()
    assert danlu(*words, "--force") == 2
    assert "holds no finished weights" in capsys.readouterr().err
    assert Tokenizer.load(out).size == 500


def test_a_trained_tokenizer_replaces_none_that_belongs_to_a_model(folder, tmp_path, capsys):
    text = text_file(tmp_path / "a.txt")
    before = (folder / "tokenizer.json").read_bytes()
    assert danlu("train", "--text", text, "--size", 300, "--out", folder, "--force") == 2
    assert "holds config.json, which is no part of a tokenizer" in capsys.readouterr().err
    assert (folder / "tokenizer.json").read_bytes() == before


@pytest.mark.parametrize("name", ["train", "report", "extend", "trim"])
def test_every_command_explains_itself_without_torch(name):
    code = (
        "import sys; from danlu import cli\n"
        "try: cli.main(['tokenizer', sys.argv[1], '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'tokenizers' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, name], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "danlu tokenizer" in done.stdout and len(done.stdout.splitlines()) > 12
