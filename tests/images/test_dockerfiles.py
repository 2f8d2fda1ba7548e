"""The Dockerfiles say the same in the same order, bake in nothing of anybody's, and leave root behind."""

import re

import pytest

from images.dockerfiles import FILES, arguments, instructions, stages
from shell import ROOT

TARGETS = ("train", "serve")
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix[1:])
every_target = pytest.mark.parametrize("target", TARGETS)


def test_there_is_one_for_each_kind_of_device():
    assert [file.suffix for file in FILES] == [".ascend", ".cpu", ".cuda"]


@every_file
def test_stages_are_the_same_in_the_same_order(file):
    first = FILES[0]
    assert list(stages(file)) == list(stages(first))
    for name, ours in stages(file).items():
        theirs = stages(first)[name]
        if name in ("", "train-needs", "train"):
            continue  # the base, torch, and what its maker's libraries want
        assert [each[0] for each in ours] == [each[0] for each in theirs], name


@every_file
def test_bases_are_pinned_and_may_be_others(file):
    given = arguments(file)
    for word, rest in instructions(file):
        if word == "FROM" and not rest.startswith(("scratch", "train-", "serve-", "vllm-")):
            name = re.fullmatch(r"\$\{(\w+)\} AS [\w-]+", rest)
            assert name, rest
            image, _, tag = given[name[1]].rpartition(":")
            assert image and re.search(r"\d+\.\d+", tag), given[name[1]]


@every_file
@every_target
def test_it_does_not_run_as_root(file, target):
    users = [rest for word, rest in stages(file)[target] if word == "USER"]
    assert users == ["1000:1000"]
    after = [word for word, rest in stages(file)[target]]
    assert "RUN" not in after[after.index("USER") :]


@every_file
@every_target
def test_source_comes_after_all_that_is_installed(file, target):
    assert not [rest for word, rest in stages(file)[target] if word == "RUN" and "install" in rest]
    copied = [rest for word, rest in stages(file)[f"{target}-needs"] if word in ("COPY", "ADD")]
    assert copied == []
    copies = [rest for word, rest in stages(file)[target] if word == "COPY"]
    assert copies[-1] == "src src"


@every_file
@every_target
def test_it_ends_by_importing_and_says_what_it_is(file, target):
    """Packages are imported where they are kept for the next build: a changed source waits for none."""
    needs = [rest for word, rest in stages(file)[f"{target}-needs"] if word == "RUN"][-1]
    assert "check.py torch" in needs and ("torch_npu" in needs) == (file.suffix == ".ascend")
    mine = stages(file)[target]
    last = [rest for word, rest in mine if word == "RUN"][-1]
    assert "check.py danlu.cli convert.to_hf" in last
    words = {word for word, _ in mine}
    assert {"LABEL", "HEALTHCHECK", "ENTRYPOINT", "CMD"} <= words
    labels = next(rest for word, rest in mine if word == "LABEL")
    for name in ("title", "description", "licenses", "base.name"):
        assert f"org.opencontainers.image.{name}=" in labels


@every_file
def test_what_is_downloaded_is_kept_for_the_next_build_and_not_in_the_image(file):
    runs = [rest for word, rest in instructions(file) if word == "RUN" and "install.sh" in rest]
    assert runs
    for run in runs:
        assert "--mount=type=cache,target=/root/.cache/pip" in run
        for secret in ("pip", "index", "ca"):
            assert f"--mount=type=secret,id={secret}" in run


@every_file
def test_no_secret_and_no_proxy_is_baked_in(file):
    for word, rest in instructions(file):
        if word in ("ARG", "ENV") and rest != "PIP_INDEX_URL=":  # empty unless somebody says
            assert not re.search(r"(?i)token|passw|secret|api_key|proxy|index_url|cert", rest), rest
    names = set(arguments(file))
    assert names <= {
        *("TRAIN_BASE", "SERVE_BASE", "SERVE_BASE_ARM64", "PARTS", "OFFLINE", "DEBIAN_MIRROR"),
        *("TORCH", "TORCH_INDEX", "TORCH_NPU", "PIP_INDEX_URL"),
    }


def test_the_context_is_a_list_of_what_may_enter_it():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    entered = {line[1:] for line in rules if line.startswith("!")}
    used = {"LICENSE", "wheels"}
    for file in FILES:
        for word, rest in instructions(file):
            if word == "COPY":
                used |= {source.split("/")[0] for source in rest.split()[:-1]} - {"wheel[s]"}
            for source in re.findall(r"type=bind,source=(\w+)", rest):
                used.add(source)
    assert entered == used
