"""The engine: every request as if it were alone, by the plainest loop one can write."""

from __future__ import annotations

import pytest
import torch

from danlu.base.errors import UserError
from danlu.generate import schedule
from danlu.generate.engine import Engine, complete, generate
from danlu.generate.prompt import end_tokens
from danlu.generate.sample import Sampler, Sampling
from generate.models import KINDS, TOKENIZER, tiny, words

GREEDY = Sampling(temperature=0.0, max_tokens=20)


@torch.inference_mode()
def plain_loop(model, prompt, sampling, ends=frozenset()):
    """Answer one prompt by a full forward for every token."""
    sampler, output = Sampler(1), []
    sampler.put(0, sampling, prompt)
    while len(output) < sampling.max_tokens:
        hidden = model(torch.tensor([prompt + output])).hidden[:, -1]
        output += sampler.choose(model.logits(hidden))
        if output[-1] in ends:
            break
    return output


def tokens_of(model, prompts, sampling, **keys):
    return [answer.tokens for answer in complete(model, TOKENIZER, prompts, sampling, **{"ends": (), **keys})]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_equal_the_plain_loop_alone_and_batched(kind):
    model, prompts = tiny(kind), words(17, 3, 30, 1, 8)
    expected = [plain_loop(model, prompt, GREEDY) for prompt in prompts]
    assert len({tuple(tokens) for tokens in expected}) == len(prompts)
    assert tokens_of(model, prompts, GREEDY) == expected
    assert [tokens_of(model, [prompt], GREEDY)[0] for prompt in prompts] == expected


def test_tokens_equal_those_of_transformers_generate():
    transformers = pytest.importorskip("transformers")
    model, prompts = tiny("qk_norm"), words(12, 12)
    cfg = model.cfg
    theirs = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            **{
                key: getattr(cfg, key)
                for key in (
                    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim",
                    "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
                    "tie_word_embeddings",
                )
            },
            rms_norm_eps=cfg.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": cfg.rope_theta},
            rope_theta=cfg.rope_theta,
            eos_token_id=None,
            pad_token_id=0,
        )
    ).eval()  # fmt: skip
    missing = theirs.load_state_dict(model.state_dict(), strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}
    theirs.tie_weights()
    for setting in ({}, {"repetition_penalty": 1.3}):
        answer = theirs.generate(torch.tensor(prompts), max_new_tokens=30, do_sample=False, **setting)
        ours = tokens_of(model, prompts, Sampling(temperature=0.0, max_tokens=30, **setting))
        assert ours == answer[:, 12:].tolist()


def test_seeded_answers_do_not_depend_on_batch_mates_or_slots():
    model, prompts = tiny(), words(17, 3, 30, 1, 8, 11)
    each = [
        Sampling(
            seed=n,
            temperature=0.9 + n / 10,
            top_k=40 * (n % 2),
            top_p=0.95,
            max_tokens=8 + n,
            presence_penalty=n / 4,
        )
        for n in range(len(prompts))
    ]
    expected = [plain_loop(model, prompt, sampling) for prompt, sampling in zip(prompts, each)]
    for slots in (1, 2, 4, 32):
        assert tokens_of(model, prompts, each, slots=slots) == expected
    assert len({tuple(tokens[:8]) for tokens in expected}) == len(prompts)


def test_long_prompts_are_read_in_pieces_and_many_in_groups(monkeypatch):
    model, prompts = tiny(), words(60, 2, 33, 16, 17)
    expected = tokens_of(model, prompts, GREEDY)
    monkeypatch.setattr(schedule, "CHUNK", 8)
    monkeypatch.setattr(schedule, "ALONE", 20)
    assert tokens_of(model, prompts, GREEDY) == expected


def test_an_end_token_ends_the_answer_and_is_not_shown():
    model, prompts = tiny(), words(5, 9)
    free = tokens_of(model, prompts, GREEDY)
    end = free[0][6]
    first = free[0].index(end)
    answers = complete(model, TOKENIZER, prompts, GREEDY, ends={end})
    assert answers[0].tokens == free[0][: first + 1] and answers[0].finish == "stop"
    assert answers[0].text == TOKENIZER.decode(free[0][:first], control=False)
    assert end_tokens(TOKENIZER) == {TOKENIZER.eos_id, TOKENIZER.pad_id}


def test_max_tokens_and_the_context_end_with_length():
    model, prompts = tiny(), words(5, 120)
    sampling = [Sampling(temperature=0.0, max_tokens=3), Sampling(temperature=0.0)]
    answers = complete(model, TOKENIZER, prompts, sampling, ends=())
    assert [(len(answer.tokens), answer.finish) for answer in answers] == [(3, "length"), (8, "length")]


@pytest.mark.parametrize(
    "prompt,words_in_error",
    [
        ([5] * 128, "128 tokens, 1 too many: the context holds 128"),
        ([5] * 200, "200 tokens, 73 too many"),
        ([], "prompt 0 is empty"),
        ([5, 10**6], "token 1000000"),
        ([5, -1], "token -1"),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_refused_with_the_reason(prompt, words_in_error):
    with pytest.raises(UserError, match=words_in_error):
        complete(tiny(), TOKENIZER, [prompt], GREEDY)


def test_streamed_text_adds_up_to_the_decoded_tokens():
    model, texts, tokens = tiny(), {}, {}
    for event in generate(
        model, TOKENIZER, words(4, 9, 2), Sampling(seed=1, temperature=1.5, max_tokens=60), ends=()
    ):
        texts[event.index] = texts.get(event.index, "") + event.text
        tokens.setdefault(event.index, []).append(event.token)
    for index, text in texts.items():
        assert text == TOKENIZER.decode(tokens[index], control=False)


def test_stop_strings_end_the_text_before_them_wherever_tokens_are_cut():
    """Any stretch of the free answer may be a stop string; none of it, nor of the rest, is ever shown."""
    model, (prompt,) = tiny(seed=3), words(6)
    free = complete(model, TOKENIZER, [prompt], Sampling(seed=5, max_tokens=40), ends=())[0]
    for start in range(0, len(free.text) - 4, 5):
        stop = free.text[start : start + 4]
        shown = ""
        events = list(
            generate(
                model, TOKENIZER, [prompt], Sampling(seed=5, max_tokens=40, stop=(stop, "nowhere")), ends=()
            )
        )
        for event in events:
            shown += event.text
            assert free.text.startswith(shown) and stop not in shown
        assert shown == free.text[: free.text.index(stop)]
        assert [event.finish for event in events] == [None] * (len(events) - 1) + ["stop"]


def test_masks_confine_their_own_request_only():
    model, prompts = tiny(), words(6, 6)
    odd = torch.arange(TOKENIZER.size) % 2 == 1
    seen = []

    def mask(output):
        seen.append(list(output))
        return odd if len(output) < 10 else None

    free = tokens_of(model, prompts, GREEDY)
    confined = [[] for _ in prompts]
    for event in generate(model, TOKENIZER, prompts, GREEDY, ends=(), masks=[None, mask]):
        confined[event.index].append(event.token)
    assert confined[0] == free[0]
    assert all(token % 2 for token in confined[1][:10])
    assert seen == [confined[1][:n] for n in range(20)]


def test_requests_come_and_go():
    model, prompts = tiny(), words(5, 7, 9, 4)
    alone = tokens_of(model, prompts, GREEDY)
    running, got = Engine(model, TOKENIZER, slots=2, ends=()), {n: [] for n in range(4)}
    for index in (0, 1, 2):
        running.add(index, prompts[index], GREEDY)
    steps = 0
    while running.busy:
        for event in running.step():
            got[event.index].append(event.token)
        steps += 1
        if steps == 5:
            running.cancel(0)
            running.add(3, prompts[3], GREEDY)
    assert got[0] == alone[0][: len(got[0])] and 0 < len(got[0]) < 20
    assert [got[n] for n in (1, 2, 3)] == alone[1:]


def test_the_model_trains_on_as_before():
    model = tiny().train()
    model.requires_grad_(True)
    list(generate(model, TOKENIZER, words(5), GREEDY))
    assert model.training
    model(torch.tensor(words(5))).hidden.sum().backward()
    assert model.head_weight.grad is not None
