"""Little pictures with captions: a square of one colour on a ground of another, eight by eight pixels.

    picture = pictures()[0]
    picture.caption("en")     "a red square on a blue ground"
    picture.png               an image file

Written as PNG by hand (ISO/IEC 15948), without compression worth the name and without a library.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

SIDE = 8
INNER = range(2, 6)  # rows and columns of the square
COLOURS = {  # English, Chinese: red, green, blue
    ("red", "红色"): (220, 30, 30),
    ("green", "绿色"): (30, 160, 60),
    ("blue", "蓝色"): (30, 60, 220),
    ("yellow", "黄色"): (240, 220, 40),
    ("white", "白色"): (255, 255, 255),
    ("black", "黑色"): (0, 0, 0),
}
GROUNDS = 4  # of each square
Colour = tuple[str, str]


class Picture(NamedTuple):
    """A square on a ground."""

    square: Colour
    ground: Colour

    def caption(self, language: str) -> str:
        """Return what is to be seen."""
        if language == "zh":
            return f"{self.ground[1]}背景上的{self.square[1]}方块"
        return f"a {self.square[0]} square on a {self.ground[0]} ground"

    def question(self, language: str) -> str:
        if language == "zh":
            return f"{self.ground[1]}背景上的方块是什么颜色？"
        return f"What colour is the square on the {self.ground[0]} ground?"

    def answer(self, language: str) -> str:
        """Return which colour the square has."""
        return f"{self.square[1]}。" if language == "zh" else f"{self.square[0].capitalize()}."

    @property
    def png(self) -> bytes:
        """The picture as an image file."""
        lines = [
            b"".join(
                bytes(COLOURS[self.square if x in INNER and y in INNER else self.ground]) for x in range(SIDE)
            )
            for y in range(SIDE)
        ]
        head = SIDE.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])  # 8 bits a colour, three colours
        data = stored(b"".join(b"\0" + line for line in lines))  # no filter
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def stored(data: bytes) -> bytes:
    """Return up to 65535 bytes as a zlib stream of one stored block (RFC 1950, 1951): the same with any zlib.

    >>> zlib.decompress(stored(b"picture"))
    b'picture'
    """
    block = b"\x01" + len(data).to_bytes(2, "little") + (len(data) ^ 0xFFFF).to_bytes(2, "little") + data
    return b"\x78\x01" + block + zlib.adler32(data).to_bytes(4, "big")


def pictures() -> list[Picture]:
    """Return every colour on four others."""
    named = list(COLOURS)
    return [
        Picture(square, named[(number + step) % len(named)])
        for step in range(1, 1 + GROUNDS)
        for number, square in enumerate(named)
    ]
