"""Small files to train on, made on the spot."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = "丹炉 炼 一 个 小 模型 the small model learns to speak two languages 你好 world 春 夏 秋 冬".split()


def texts(path: Path, rows: int = 200, seed: int = 0) -> Path:
    """Write pretraining rows of uneven length."""
    chance = random.Random(seed)
    lines = [{"text": " ".join(chance.choices(WORDS, k=chance.randint(3, 60)))} for _ in range(rows)]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def chats(path: Path, rows: int = 100, seed: int = 0, thinking: bool = False) -> Path:
    """Write chats of one to three exchanges."""
    chance = random.Random(seed)
    lines = []
    for _ in range(rows):
        turns = []
        for _ in range(chance.randint(1, 3)):
            a, b = chance.randint(0, 9), chance.randint(0, 9)
            answer = str(a + b)
            if thinking:
                answer = f"<think>\n{a} + {b}\n</think>\n<answer>\n{answer}\n</answer>"
            turns += [{"role": "user", "content": f"{a}+{b}?"}, {"role": "assistant", "content": answer}]
        lines.append({"conversations": turns})
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path
