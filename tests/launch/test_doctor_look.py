"""How the doctor reads versions, mounts and texts, and what it makes of them: its functions, one by one."""

import json
import shlex

import pytest

from shell import said

PARTS = "source launch/doctor/parts.sh"
# From the oldest to the newest, as vendors number them: a candidate comes before its release.
ASCENDING = [
    "8.2.RC1",
    "8.2.RC2",
    "8.5.0",
    "8.5.1",
    "9.0.0",
    "9.1.0",
    "9.10.0",
    "24.1.rc2",
    "24.1.0",
    "580.65.06",
]


def test_versions_are_in_their_order():
    pairs = [(one, other) for one in ASCENDING for other in ASCENDING]
    code = "; ".join(f"if older {one} {other}; then echo 1; else echo 0; fi" for one, other in pairs)
    told = [line == "1" for line in said(f"{PARTS}; {code}").splitlines()]
    assert told == [ASCENDING.index(one) < ASCENDING.index(other) for one, other in pairs]


@pytest.mark.parametrize(
    ("version", "least"),
    [("25.2.rc1", "25.2"), ("25.2.0", "25.2"), ("580", "580.0"), ("9.0.0-beta.2", "9.0")],
)
def test_no_more_parts_are_compared_than_were_asked_for(version, least):
    assert said(f"{PARTS}; if older {version} {least}; then echo older; else echo not; fi") == "not"


# What is to be read, then the two lines of a chip as npu-smi prints them: 25.2 on A3, 22.0 on 310P,
# 24.1 on A2, 25.5 on 910A.
ROWS = """\
7 3195 65536
| 3     Ascend910           | OK            | -           36                0    / 0             |
| 1     7                   | 0000:9F:00.0  | 0           0    / 0          3195 / 65536         |

0 1805 21527
| 7       310P3                 | OK              | NA           28                0    / 0              |
| 0       0                     | 0000:00:07.0    | 0            1805 / 21527                            |

5 26838 32768 Alarm
| 5     910B4-1             | Alarm         | 88.2        30                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          26838/ 32768         |

2 18 32768
| 2     910PremiumA         | OK            | 78.0        38                0    / 0             |
| 0                         | 0000:C1:00.0  | 12          2387 / 13553      18   / 32768         |
"""
BLOCKS = [block.split("\n", 1) for block in ROWS.strip().split("\n\n")]
PROCESSES = """\
| 3       1                 | 1333928       |                          | 37709                   |
| 3       1                 | 1333928       | VLLMWorker_TP            | 37709                 | NA        |
"""


@pytest.mark.parametrize(("told", "rows"), BLOCKS)
def test_two_lines_of_npu_smi_are_read_in_every_layout(told, rows):
    show = 'for n in "${CARDS[@]}"; do echo $n ${USED[$n]} ${MEMORY[$n]} ${ILL[$n]:-}; done'
    assert said(f"{PARTS}; read_npu_smi {shlex.quote(rows)}; {show}") == told


@pytest.mark.parametrize("row", PROCESSES.splitlines())
def test_processes_are_read_in_every_layout(row):
    table = shlex.quote(BLOCKS[0][1] + "\n" + row)
    told = said(f'{PARTS}; read_npu_smi {table}; echo "${{HOLDERS[7]}}"', HOST_ROOT="/nowhere")
    assert told == "PID 1333928 ?, 37709 MB"


def test_text_of_any_kind_becomes_json():
    texts = ["", 'a "b" c', "C:\\\\134 \\n", "丹炉，试试：", "a&b", "$(x) `y` ${z}", "%s %d", "{}[]"]
    code = "; ".join(f"json_string {shlex.quote(text)}; echo" for text in texts)
    assert [json.loads(line) for line in said(f"{PARTS}; {code}").splitlines()] == texts


def test_control_characters_become_spaces():
    assert json.loads(said(f"{PARTS}; json_string $'a\\tb\\nc\\ed'")) == "a b c d"


def test_the_innermost_mount_counts(tmp_path):
    rows = [
        "/dev/a / ext4 rw 0 0",
        "C: /mnt/c 9p rw 0 0",
        "/dev/b /mnt xfs ro 0 0",
        "/dev/d /mnt/cd btrfs rw 0 0",
    ]
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/mounts").write_text("\n".join(rows) + "\n", encoding="utf-8")
    code = "; ".join(f"mounted {path}" for path in ("/home/dan", "/mnt/c/x", "/mnt/cde", "/mnt/cd"))
    told = said(f"{PARTS}; {code}", HOST_ROOT=str(tmp_path)).splitlines()
    assert told == ["ext4 rw", "9p rw", "xfs ro", "btrfs rw"]


def test_what_takes_its_time_runs_beside_the_rest():
    """Two that wait for each other end, each with its words and its status."""
    code = """
    work=$(mktemp -d)
    mkfifo "$work/there" "$work/back"
    one() { echo ready >"$work/there"; cat "$work/back"; return 3; }
    other() { cat "$work/there"; echo done >"$work/back"; }
    begin one one; begin other other
    ended one || status=$?
    echo "$TOLD $status"
    ended other && echo "$TOLD"
    rm -r "$work"
    """
    assert said(f"{PARTS}; {code}") == "done 3\nready"
