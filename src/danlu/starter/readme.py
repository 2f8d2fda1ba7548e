"""What a starter set says about itself, in both languages. The commands name the folder `data`."""

from __future__ import annotations

TINY = "batch_tokens=4096 optim.name=muon"
COMMANDS = {
    "pretrain.jsonl": "danlu train pretrain model=tiny data.train=data/pretrain.jsonl epochs=2"
    f" {TINY} optim.lr=6e-3",
    "sft.jsonl": "danlu train sft from=out/pretrain_128 data.train=data/sft.jsonl,data/identity.jsonl"
    f" {TINY} optim.lr=4e-3",
    "identity.jsonl": "danlu data show data/identity.jsonl",
    "reason.jsonl": "danlu train reason from=out/full_sft_128 data.train=data/reason.jsonl",
    "tools.jsonl": "danlu train tool_sft from=out/full_sft_128"
    f" data.train=data/tools.jsonl,data/sft.jsonl,data/identity.jsonl seq_len=512 {TINY} optim.lr=4e-3",
    "dpo.jsonl": "danlu data check data/dpo.jsonl",
    "rlaif.jsonl": "danlu data check data/rlaif.jsonl",
    "classify.csv": "danlu data check data/classify.csv",
    "notes.jsonl": "danlu train pretrain model=tiny-moe data.train=data/pretrain.jsonl,data/notes.jsonl"
    f" {TINY} optim.lr=6e-3",
    "heldout/": "danlu eval perplexity out/full_sft_128 --data data/heldout/sft.jsonl",
    "schemas/": "danlu data check data/schemas",
}
ENGLISH = {
    "pretrain.jsonl": "texts: facts of a little world, questions and answers, stories, sentences",
    "sft.jsonl": "chats of one or several turns about that world",
    "identity.jsonl": "who the assistant is, and who made it",
    "reason.jsonl": "steps between think tags, the result between answer tags",
    "tools.jsonl": "chats that call tools",
    "dpo.jsonl": "a question with a better and a worse answer: wrong, rude, rambling, wrong language",
    "rlaif.jsonl": "prompts that wait for an answer; `gt` is what it must contain",
    "classify.csv": "opinions: 1 praises, 0 complains",
    "notes.jsonl": "texts: notes and their records; a model learns from them to copy what it has read",
    "heldout/": "the same again, to measure with: no question of it occurs in training, every fact does",
    "schemas/": "a few rows in every other shape that is read",
}
CHINESE = {
    "pretrain.jsonl": "文本：小世界里的事实、问答、小故事和各种句子",
    "sft.jsonl": "关于这个小世界的单轮和多轮对话",
    "identity.jsonl": "助手是谁，由谁训练",
    "reason.jsonl": "步骤写在 think 标签里，结果写在 answer 标签里",
    "tools.jsonl": "调用工具的对话",
    "dpo.jsonl": "一个问题，一个较好的回答和一个较差的：答错、无礼、啰嗦或用错语言",
    "rlaif.jsonl": "等待回答的问题；`gt` 是回答必须包含的内容",
    "classify.csv": "评价：1 是好评，0 是差评",
    "notes.jsonl": "文本：随手记和由它整理出的记录；模型由此学会照抄读到的内容",
    "heldout/": "同样的文件，用来评测：训练中没有其中任何一个问题，但有其中每一个事实",
    "schemas/": "其他每一种可读的格式，各几行",
}


def page(title: str, opening: str, head: str, meanings: dict[str, str], run: str) -> str:
    """Return a page: what each file is, then the commands that use them."""
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in meanings.items())
    commands = "".join(f"# {name}\n{COMMANDS[name]}\n" for name in meanings)
    return f"# {title}\n\n{opening}\n\n{head}\n|---|---|\n{rows}\n{run}\n\n```bash\n{commands}```\n"


FILES = {
    "README.md": page(
        "A starter set",
        "Made by `danlu data starter` from grammars, in Chinese and English; same seed, same bytes.",
        "| file | what it holds |",
        ENGLISH,
        "Where this folder is called `data`:",
    ),
    "README.zh-CN.md": page(
        "入门数据集",
        "由 `danlu data starter` 用语法生成，中英双语：种子相同，每个字节都相同。",
        "| 文件 | 内容 |",
        CHINESE,
        "当这个文件夹叫 `data` 时：",
    ),
}
