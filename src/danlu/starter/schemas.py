"""A small bilingual file in every shape of row that is read, so that each can be looked at and tried.

    for name, content in rows(random.Random(1)): ...
    "schemas/alpaca.jsonl"     rows, to be written as the name's ending says
    "schemas/img/01.png"       bytes, to be written as they are

What they say is taken from the little world, the tools and the pictures (pictures.py); every file of
rows has 24, Chinese and English in turns.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from danlu.starter import chats, preferences, reviews, tools
from danlu.starter.pictures import Picture, pictures
from danlu.starter.split import pick
from danlu.starter.tools_values import COLOURS, THINGS
from danlu.starter.world import Asked, World

Row = dict[str, Any]
Rows = list[Row]
Maker = Callable[[World, random.Random, int], Row]
LANGUAGES = ("zh", "en")
COUNT = 24
SYSTEM = (
    "# Tools\n\nThese functions may be called:\n<tools>\n{}\n</tools>\n\nTo call one, write:\n<tool_call>\n"
    '{{"name": <name>, "arguments": <object>}}\n</tool_call>'
)
"""How tools stand in a system text; the starter tokenizer's chat template writes the same."""
WAITING = chats.assistant("空")  # stands where a model is to answer
TRANSLATE = {"zh": "把这个词翻译成英文。", "en": "Translate this word into Chinese."}
ANSWER = {"zh": "请回答问题。", "en": "Answer the question."}
GOOD = {"zh": "回答正确。", "en": "That is right."}
FEATURES = {"zh": "类型#{} 颜色#{}色", "en": "type#{} colour#{}"}
ADVERTISED = {
    "zh": "这款{1}色的{0}很好看，价钱也不贵。",
    "en": "This {1} {0} looks beautiful and does not cost much.",
}
MIXTURE = """\
# danlu train pretrain data.train=data/schemas/multisource.yaml
sources: [data/schemas/pretrain.jsonl, data/schemas/pretrain_content.jsonl]
names: [facts, more]
schedule:
- schedule_type: const
  weights: [0.7, 0.3]
"""


def rows(dice: random.Random) -> Iterator[tuple[str, Rows | bytes]]:
    """Yield every file's name, and its rows or bytes."""
    worlds = {language: World(language) for language in LANGUAGES}
    for name, make in TEXTS.items():
        yield f"schemas/{name}", distinct(make, worlds, dice)
    labelled = distinct(classification, worlds, dice, 2 * COUNT)
    yield "schemas/classification.csv", labelled[:COUNT]
    yield "schemas/classification_gb18030.csv", table(labelled[COUNT:], "gb18030")
    yield "schemas/multisource.yaml", MIXTURE.encode()
    yield from of_pictures(pictures())


def distinct(make: Maker, worlds: dict[str, World], dice: random.Random, count: int = COUNT) -> Rows:
    """Return rows in both languages in turns, no two of them alike."""
    made: Rows = []
    while len(made) < count:
        row = make(worlds[LANGUAGES[len(made) % 2]], dice, len(made))
        if row not in made:
            made.append(row)
    return made


def table(listed: Rows, encoding: str) -> bytes:
    """Return rows as a table, the first row's keys above it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, listed[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return text.getvalue().encode(encoding)


def ask(world: World, dice: random.Random) -> Asked:
    return world.ask(dice, False, world.facts, short=False)


def instructed(world: World, dice: random.Random, number: int) -> tuple[str, str, str]:
    """Return an instruction, what it is to be applied to, and the answer: every other one translates."""
    if number // 2 % 2:
        word = pick(dice, world.rows["word"])
        given, answer = (word["zh"], word["en"]) if world.language == "zh" else (word["en"], word["zh"])
        return TRANSLATE[world.language], given, answer
    asked = ask(world, dice)
    return ANSWER[world.language], asked.question, asked.answer


def pretrain(world: World, dice: random.Random, _: int) -> Row:
    return {"text": world.state(dice, False, world.facts)}


def content(world: World, dice: random.Random, _: int) -> Row:
    return {"content": world.state(dice, False, world.facts)}


def chat(world: World, dice: random.Random, _: int) -> Row:
    return chats.sft([world], dice, False)


def messages(world: World, dice: random.Random, _: int) -> Row:
    """Return two turns, the second of which is to be learned."""
    said: Rows = []
    for mask in (0, 1):
        asked = ask(world, dice)
        said += [
            {**chats.user(asked.question), "loss_mask": 0},
            {**chats.assistant(asked.answer), "loss_mask": mask},
        ]
    return {"messages": said}


def alpaca(world: World, dice: random.Random, number: int) -> Row:
    instruction, given, answer = instructed(world, dice, number)
    if instruction == ANSWER[world.language]:
        instruction, given = given, ""
    return {"instruction": instruction, "input": given, "output": answer}


def belle(world: World, dice: random.Random, _: int) -> Row:
    asked = ask(world, dice)
    return {"input": asked.question, "target": asked.answer}


def context(world: World, dice: random.Random, number: int) -> Row:
    instruction, given, answer = instructed(world, dice, number)
    return {"context": f"Instruction: {instruction}\nInput: {given}\nAnswer: ", "target": answer}


def pair(world: World, dice: random.Random, _: int) -> Row:
    return preferences.dpo([world], dice, False)


def transcripts(world: World, dice: random.Random, number: int) -> Row:
    def transcript(said: Rows) -> str:
        question, answer = (message["content"] for message in said[-2:])
        return f"\n\nHuman: {question}\n\nAssistant: {answer}"

    return {key: transcript(said) for key, said in pair(world, dice, number).items()}


def rlaif(world: World, dice: random.Random, _: int) -> Row:
    *asked, _answer = chats.rlaif([world], dice, False)["conversations"]
    return {"conversations": [*asked, WAITING]}


def reason(world: World, dice: random.Random, _: int) -> Row:
    return chats.reason([world], dice, False)


def calling(world: World, dice: random.Random, *names: str) -> Row:
    """Return a dialogue with one call, of one of some tools if they are named."""
    while True:
        row = tools.dialogue(dice, False, "one call", world.language)
        (call,) = tools.calls(row["messages"])
        if row["messages"][0]["role"] == "user" and call["name"] in (names or [call["name"]]):
            return row


def flat(row: Row) -> Rows:
    """Return a dialogue's messages with its tools and calls as text."""
    first, *rest = row["messages"]
    before = f"{first['content']}\n\n" if first["role"] == "system" else ""
    listed = "\n".join(map(tell, row["tools"]))
    said = [{"role": "system", "content": before + SYSTEM.format(listed)}]
    for message in rest if before else row["messages"]:
        calls = [f"<tool_call>\n{tell(each)}\n</tool_call>" for each in message.get("tool_calls", ())]
        said.append({"role": message["role"], "content": "\n".join(calls) or message["content"]})
    return said


def tell(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def agent(world: World, dice: random.Random, _: int) -> Row:
    """Return a question that a tool answers, and what the answer must contain."""
    row = calling(world, dice, "calculate", "get_time", "search", "convert_unit")
    system, question = flat(row)[:2]
    (result,) = json.loads(row["messages"][2]["content"]).values()
    return {"conversations": [system, question, WAITING], "gt": str(result)}


def tool_sft(world: World, dice: random.Random, number: int) -> Row:
    """Return a dialogue of every kind in turns."""
    kind = tuple(tools.KINDS)[number // 2 % len(tools.KINDS)]
    return {"conversations": flat(tools.dialogue(dice, False, kind, world.language))}


def xlam(world: World, dice: random.Random, _: int) -> Row:
    row = calling(world, dice)
    offered = [
        {
            "name": tool["name"],
            "parameters": {name: {"type": "str"} for name in tool["parameters"]["properties"]},
        }
        for tool in row["tools"]
    ]
    answers = list(tools.calls(row["messages"]))
    return {"query": row["messages"][0]["content"], "tools": tell(offered), "answers": tell(answers)}


def glaive(world: World, dice: random.Random, _: int) -> Row:
    row = calling(world, dice)
    question, made, result, answer = row["messages"]
    turns = [
        ("human", question["content"]),
        ("function_call", tell(made["tool_calls"][0])),
        ("observation", result["content"]),
        ("gpt", answer["content"]),
    ]
    said = [{"from": speaker, "value": value} for speaker, value in turns]
    return {"conversations": said, "tools": tell(row["tools"])}


def adgen(world: World, dice: random.Random, _: int) -> Row:
    thing, colour = pick(dice, THINGS[world.language]), pick(dice, COLOURS[world.language][:7])
    form, told = FEATURES[world.language], ADVERTISED[world.language]
    return {"content": form.format(thing, colour), "summary": told.format(thing, colour)}


def feedback(world: World, dice: random.Random, number: int) -> Row:
    """Return what a person said of a model's answer; two of three were wrong."""
    asked, right = ask(world, dice), number // 2 % 3 == 0
    wrong = asked.answer
    while wrong == asked.answer:
        wrong = world.reply(asked.topic, int(dice.random() * len(asked.topic.rows)))
    return {
        "instruct": ANSWER[world.language],
        "input": asked.question,
        "model_output": asked.answer if right else wrong,
        "human_feedback": GOOD[world.language] if right else asked.answer,
        "is_error": not right,
    }


def tokenised(world: World, dice: random.Random, number: int) -> Row:
    """Return a text's bytes as ids, with begin and end; in every other row the question is only read."""
    asked = ask(world, dice)
    question, answer = (
        [3 + byte for byte in text.encode()] for text in (asked.question + "\n", asked.answer)
    )
    ids = [1, *question, *answer, 2]
    return {"input_ids": ids, "seq_len": 1 + len(question) if number // 2 % 2 else len(ids)}


def classification(world: World, dice: random.Random, number: int) -> Row:
    return dict(reviews.classify([world], dice, False, number // 2 % 2))


TEXTS: dict[str, Maker] = {
    "pretrain.jsonl": pretrain,
    "pretrain_content.jsonl": content,
    "tokenised.jsonl": tokenised,
    "sft_chat.jsonl": chat,
    "sft_messages.jsonl": messages,
    "alpaca.jsonl": alpaca,
    "belle.jsonl": belle,
    "context_target.jsonl": context,
    "adgen.jsonl": adgen,
    "reason.jsonl": reason,
    "tool_sft.jsonl": tool_sft,
    "xlam_raw.jsonl": xlam,
    "glaive_raw.jsonl": glaive,
    "feedback_log.jsonl": feedback,
    "dpo_chat.jsonl": pair,
    "hh_rlhf.jsonl": transcripts,
    "rlaif.jsonl": rlaif,
    "agent_rl.jsonl": agent,
}


def of_pictures(shown: list[Picture]) -> Iterator[tuple[str, Rows | bytes]]:
    """Yield the pictures, and every file of rows about them."""
    listed = list(enumerate(shown, 1))
    for number, picture in listed:
        yield f"schemas/img/{number:02}.png", picture.png
    yield (
        "schemas/clip_pairs.jsonl",
        [
            {"file_path": f"img/{n:02}.png", "prompt": each.caption("en"), "zh_prompt": each.caption("zh")}
            for n, each in listed
        ],
    )
    yield (
        "schemas/chinese_clip_texts.jsonl",
        [
            {"text_id": n, "text": each.caption(LANGUAGES[n % 2 - 1]), "image_ids": [100 + n]}
            for n, each in listed
        ],
    )
    lines = [f"{100 + n}\t{base64.b64encode(each.png).decode()}\n" for n, each in listed]
    yield "schemas/chinese_clip_imgs.tsv", "".join(lines).encode()
    found = [100 + 1 + (n + step) % len(listed) for n, _ in listed for step in (-1, 5, 11)]
    yield (
        "schemas/retrieval_eval.jsonl",
        [{"text_id": n, "image_ids": found[3 * n - 3 : 3 * n]} for n, _ in listed],
    )
    talks = [
        {
            "image": f"img/{n:02}.png",
            "conversations": [
                {"value": f"<image>\n{each.question(language := LANGUAGES[n % 2 - 1])}"},
                {"value": each.answer(language)},
            ],
        }
        for n, each in listed
    ]
    yield "schemas/llava.json", (json.dumps(talks, ensure_ascii=False, indent=1) + "\n").encode()
