"""Loss and bits per byte equal plain full forwards, one token's question at a time."""

from __future__ import annotations

import json
import math

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.data.batch import IGNORE
from danlu.data.stream import open_stream
from danlu.eval import command
from danlu.evaluate import TASKS, perplexity
from danlu.evaluate.perplexity import Row, measure, read, windows
from danlu.tokenizer.chat import encode_chat
from danlu.train import losses
from generate.models import TOKENIZER, finished, tiny, words

TEXTS = ["The furnace is hot.", "丹炉里的火，不可熄灭。" * 3, "a", "one two three " * 12]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "1+1?"},
    {"role": "assistant", "content": "二 2"},
    {"role": "user", "content": "sure?"},
    {"role": "assistant", "content": "Yes. 😀"},
]


@pytest.fixture
def files(tmp_path):
    texts, chats = tmp_path / "texts.jsonl", tmp_path / "chats.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    chats.write_text(json.dumps({"conversations": CHAT}, ensure_ascii=False) + "\n", encoding="utf-8")
    return texts, chats


@torch.inference_mode()
def nll(model, ids, at):
    """Return -log p of the token at a place, from all before it, by the definition."""
    logits = model.logits(model(torch.tensor([ids[:at]])).hidden[0, -1]).double()
    return float(torch.logsumexp(logits, -1) - logits[ids[at]])


@pytest.mark.parametrize("kind", ["qk_norm", "moe"])
def test_texts_equal_the_definition(files, kind):
    model, total, count = tiny(kind, max_position_embeddings=512), 0.0, 0
    for text in TEXTS:
        ids = [TOKENIZER.bos_id, *TOKENIZER.encode(text), TOKENIZER.eos_id]
        total += sum(nll(model, ids, at) for at in range(1, len(ids)))
        count += len(ids) - 1
    score = measure(model, read(TOKENIZER, [files[0]]), 512, 256, together=100)
    assert (score.tokens, score.rows, score.bytes) == (count, 4, sum(len(text.encode()) for text in TEXTS))
    assert score.nll == pytest.approx(total, rel=1e-6)
    assert score.loss == pytest.approx(total / count, rel=1e-6)
    assert score.perplexity == pytest.approx(math.exp(total / count), rel=1e-5)
    assert score.bits_per_byte == pytest.approx(total / math.log(2) / score.bytes, rel=1e-6)


def test_of_chats_what_the_assistant_says_is_scored(files):
    model, chat = tiny(), encode_chat(TOKENIZER, CHAT)
    scored = [at for at, learned in enumerate(chat.mask) if learned]
    score = measure(model, read(TOKENIZER, [files[1]]), 128, 64)
    assert score.tokens == len(scored)
    assert score.nll == pytest.approx(sum(nll(model, chat.ids, at) for at in scored), rel=1e-6)
    assert score.bytes == len("二 2Yes. 😀".encode())


def test_given_ids_are_scored_as_they_are_and_a_label_is_no_text(tmp_path):
    file = tmp_path / "mixed.jsonl"
    ids = [TOKENIZER.bos_id, *TOKENIZER.encode("The furnace"), TOKENIZER.eos_id]
    whole, part = {"input_ids": ids}, {"input_ids": ids, "seq_len": 3}
    rows = [{"text": "The furnace"}, {"text": "The furnace", "label": 1}, whole, part]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text, label, known, asked = read(TOKENIZER, [file])
    assert (known.ids, known.scored, known.bytes) == (text.ids, text.scored, text.bytes) and label == text
    assert asked.scored == [place >= 3 for place in range(len(ids))]
    assert asked.bytes == len(TOKENIZER.decode(ids[3:-1]).encode())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": CHAT, "rejected": CHAT}, "2: this is no text and no chat, but a preference"),
        ({"input_ids": [1, TOKENIZER.size]}, r"x.jsonl:2: input_ids\[1\]"),
    ],
)
def test_a_row_that_cannot_be_scored_is_refused(tmp_path, row, message):
    file = tmp_path / "x.jsonl"
    file.write_text(f'{{"text": "a"}}\n{json.dumps(row)}\n')
    with pytest.raises(UserError, match=message) as error:
        list(read(TOKENIZER, [file]))
    assert error.value.hint


def test_the_loss_is_the_one_training_measures(files):
    model = tiny(max_position_embeddings=512)
    for kind, file in zip(("pretrain", "chat"), files):
        stream = open_stream(
            [str(file)], kind, TOKENIZER, seq_len=512, batch_tokens=1024, micro_batch=2, rank=0, ranks=1,
            seed=1, packing=True, epochs=1,
        )  # fmt: skip
        batches = [batch for step in stream for batch in step]
        with torch.no_grad():
            total = sum(losses.token_nll(model, batch).sum().item() for batch in batches)
        score = measure(model, read(TOKENIZER, [file]), 512, 256)
        assert score.tokens == sum(batch.count for batch in batches)
        assert score.nll == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("context,stride", [(8, 4), (8, 8), (8, 1), (20, 7)])
def test_long_rows_are_read_in_windows_that_score_every_token_once(context, stride):
    """The oracle asks for each token from the window that the module's picture gives it."""
    model, (ids,) = tiny(), words(45)
    total = 0.0
    for at in range(1, 45):
        end = context + stride * max(0, math.ceil((at - context) / stride))
        start = max(0, min(end, 44) - context)
        total += nll(model, ids[start : at + 1], at - start)
    score = measure(model, [Row(ids, [True] * 45, 0)], context, stride)
    assert score.tokens == 44
    assert score.nll == pytest.approx(total, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=50), st.integers(1, 12), st.data())
def test_windows_hold_every_scored_token_once_with_enough_before_it(scored, context, data):
    stride = data.draw(st.integers(1, context))
    row = Row(list(range(len(scored))), scored, 0)
    seen = []
    for window in windows(row, context, stride):
        assert len(window.tokens) <= context
        for place, (token, label) in enumerate(zip(window.tokens, window.labels)):
            if label != IGNORE:
                assert label == token + 1
                assert place + 1 >= min(label, context - stride)
                seen.append(label)
    assert seen == [at for at in range(1, len(scored)) if scored[at]]


def test_a_context_or_stride_that_cannot_be_is_refused():
    assert perplexity.span(tiny(), None, None) == (128, 64)
    with pytest.raises(UserError, match="reads 128 tokens at most"):
        perplexity.span(tiny(), 129, None)
    with pytest.raises(UserError, match="stride: 9 would pass over"):
        perplexity.span(tiny(), 8, 9)


def test_the_command_prints_for_people_and_for_programs(files, tmp_path):
    folder = finished(tmp_path / "out" / "sft_64", tiny())
    call = ["perplexity", str(folder), "--data", str(files[0]), "--data", str(files[1]), "--device", "cpu"]
    printed = CliRunner().invoke(command, [*call, "--json"], catch_exceptions=False)
    score = json.loads(printed.stdout)
    assert score["rows"] == 5 and score["perplexity"] == pytest.approx(math.exp(score["loss"]))
    text = CliRunner().invoke(command, call, catch_exceptions=False).stdout
    assert f"{score['loss']:.4f} nats a token" in text and f"{score['bits_per_byte']:.4f}" in text
    limited = CliRunner().invoke(command, [*call, "--json", "--limit", "2"], catch_exceptions=False)
    assert json.loads(limited.stdout)["rows"] == 2
    assert set(TASKS) == set(command.commands)
