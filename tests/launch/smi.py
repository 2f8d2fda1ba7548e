"""What the vendors' tools print of their cards, laid out as they print it.

    npu_smi(CARDS["a2"], CARDS["a2"].chips)                      the table of `npu-smi info` on eight 910B3
    npu_smi(card, by_chip(card.chips, health={3: "Warning"}))    the same with the fourth chip ill
    nvidia_smi(2, used=("4", "20480"))                           a script that answers as nvidia-smi does

The widths of npu-smi's columns, and whether the second line of a chip names its device file, differ between
chips and versions; so does whether a process has a column for its number inside a container.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Chip:
    """One chip: the NPU it is on, its number there, its device file, megabytes in use and in all."""

    npu: int
    chip: int
    device: int
    used: int
    total: int
    health: str = "OK"


@dataclass(frozen=True)
class Layout:
    """How a version of npu-smi lays out its table: widths of columns, headings, the two lines of a chip."""

    widths: tuple[int, ...]
    headings: tuple[Cells, Cells]
    first: Cells
    second: Cells
    process_widths: tuple[int, ...]
    process: Cells = ("{chip.npu:<7} {chip.chip}", "{pid}", "{name}", "{used}", "NA")


PROCESSES = ("NPU     Chip", "Process id", "Process name", "Process memory(MB)", "Process id in container")
NARROW = Layout(
    (27, 15, 52),
    (
        ("NPU   Name", "Health", "Power(W)    Temp(C)           Hugepages-Usage(page)"),
        ("Chip", "Bus-Id", "AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)"),
    ),
    ("{chip.npu:<5} {name}", "{chip.health}", "93.0        50                0    / 0"),
    ("{chip.chip}", "0000:{bus:02X}:00.0", "0           0    / 0          {chip.used:<5}/ {chip.total}"),
    (27, 15, 26, 25),
)
FIRST = replace(
    NARROW,
    second=(*NARROW.second[:2], "0           2387 / 13553      {chip.used:<5}/ {chip.total}"),
)
WIDE = Layout(
    (27, 15, 70),
    (
        ("NPU   Name", "Health", "Power(W)             Temp(C)                 Hugepages-Usage(page)"),
        ("Chip  Phy-ID", "Bus-Id", "AICore(%)            Memory-Usage(MB)        HBM-Usage(MB)"),
    ),
    ("{chip.npu:<5} {name}", "{chip.health}", "-                    35                      0    / 0"),
    (
        "{chip.chip:<5} {chip.device}",
        "0000:{bus:02X}:00.0",
        "0                    0    / 0                {chip.used:<5}/ {chip.total}",
    ),
    (27, 15, 20, 23, 25),
)
INFERENCE = Layout(
    (31, 17, 54),
    (
        ("NPU     Name", "Health", "Power(W)     Temp(C)           Hugepages-Usage(page)"),
        ("Chip    Device", "Bus-Id", "AICore(%)    Memory-Usage(MB)"),
    ),
    ("{chip.npu:<7} {name}", "{chip.health}", "NA           45                0     / 0"),
    ("{chip.chip:<7} {chip.device}", "0000:{bus:02X}:00.0", "0            {chip.used:<5}/ {chip.total}"),
    (31, 17, 26, 27),
)


@dataclass(frozen=True)
class Card:
    """A kind of Ascend card: its name in npu-smi, and how that prints it; what CANN and PCI call it."""

    name: str
    layout: Layout
    operators: str
    pci: str
    chips: tuple[Chip, ...]


EIGHT = range(8)
CARDS = {
    "a2": Card("910B3", NARROW, "ascend910b", "0xd802", tuple(Chip(n, 0, n, 3401, 65536) for n in EIGHT)),
    "a3": Card(
        "Ascend910",
        WIDE,
        "ascend910_93",
        "0xd803",
        tuple(Chip(n // 2, n % 2, n, 3131, 65536) for n in range(16)),
    ),
    "310p": Card(
        "310P3",
        INFERENCE,
        "ascend310p",
        "0xd500",
        (Chip(1, 0, 0, 1529, 44280), Chip(1, 1, 1, 1412, 43693), Chip(32768, 0, 2, 1910, 21527)),
    ),
    "910a": Card("910ProB", FIRST, "ascend910", "0xd801", tuple(Chip(n, 0, n, 18, 32768) for n in EIGHT)),
}
Processes = tuple[tuple[int, int, str, int], ...]


def row(widths: Sequence[int], cells: Sequence[str]) -> str:
    """One line of a table."""
    return "|" + "|".join(f" {cell:<{width - 1}}" for width, cell in zip(widths, cells)) + "|"


def npu_smi(card: Card, chips: Sequence[Chip], processes: Processes = (), version: str = "25.5.0") -> str:
    """The table of `npu-smi info`; a process: the place of its chip in the list, number, name, megabytes."""
    layout = card.layout
    whole = (sum(layout.widths) + len(layout.widths) - 1,)
    line, thick = ("+" + "+".join(mark * width for width in layout.widths) + "+" for mark in "-=")
    table = ["+" + "-" * whole[0] + "+", row(whole, [f"{f'npu-smi {version}':<32} Version: {version}"]), line]
    table += [row(layout.widths, cells) for cells in layout.headings] + [thick]
    for place, chip in enumerate(chips):
        about = {"chip": chip, "name": card.name, "bus": 0xC1 - place}
        for cells in (layout.first, layout.second):
            table.append(row(layout.widths, [cell.format(**about) for cell in cells]))
        table.append(thick)
    table += [line, row(layout.process_widths, PROCESSES), thick]
    for npu in dict.fromkeys(chip.npu for chip in chips):
        held = [process for process in processes if chips[process[0]].npu == npu]
        for place, pid, name, used in held:
            about = {"chip": chips[place], "pid": pid, "name": name, "used": used}
            table.append(row(layout.process_widths, [cell.format(**about) for cell in layout.process]))
        if not held:
            table.append(row(whole, [f"No running processes found in NPU {npu}"]))
        table.append(thick)
    assert len({len(text) for text in table}) == 1
    return "\n".join(table)


def by_chip(chips: Sequence[Chip], **changes: dict[int, object]) -> tuple[Chip, ...]:
    """The chips with some fields changed, each by the chip's place: by_chip(chips, health={3: "Warning"})."""
    return tuple(
        replace(chip, **{field: new[place] for field, new in changes.items() if place in new})
        for place, chip in enumerate(chips)
    )


def nvidia_smi(
    count: int = 2,
    driver: str = "580.126.20",
    name: str = "NVIDIA H100 80GB HBM3",
    capability: str = "9.0",
    used: Sequence[str] = ("4", "4"),
    apps: str = "",
) -> str:
    """A script that answers what the launchers ask nvidia-smi, and prints the head of its table otherwise."""
    cards = "".join(
        f"{n}, 00000000:{0x1B + n:02X}:00.0, {name}, {capability}, {driver}, {used[n]}, 81559\n"
        for n in range(count)
    )
    indices = "".join(f"{n}\n" for n in range(count))
    head = f"| NVIDIA-SMI {driver:<22} Driver Version: {driver:<14} CUDA Version: 13.0     |\n"
    answers = {
        "*query-gpu=index,pci*": cards,
        "*query-gpu=index*": indices,
        "*query-gpu=name*": f"{name}, {capability}\n" * count,
        "*query-compute-apps*": apps,
        "*": head,
    }
    arms = [f"{asked}) printf '%s' '{answer}' ;;" for asked, answer in answers.items()]
    return "\n".join(['case "$*" in', *arms, "esac"])
