"""run_all.sh and the launchers it calls: what would be run, for which words. Nothing is run here."""

import re
import shutil

import pytest

from shell import ROOT, call, refused, said, small_clone


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone that looks set up, with finished weights; its path has a space and Chinese in it."""
    folder = small_clone(tmp_path_factory.mktemp("some where 丹炉") / "clone")
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(shutil.which("python3"))
    said("for part in base serve test; do KIND=cpu mark_ready .venv $part; done", folder)
    for name in ("pretrain_512", "pretrain_640_moe", "full_sft_512"):
        (folder / "out" / name).mkdir(parents=True)
        (folder / "out" / name / "config.json").touch()
    return folder


def plan(clone, words: str, **env: str) -> str:
    done = call("bash", "-c", f"bash run_all.sh --dry-run {words}", cwd=clone, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().replace(" \n", "\n")


def problem(clone, words: str, **env: str) -> str:
    done = call("bash", "-c", f"bash run_all.sh {words}", cwd=clone, **env)
    assert done.returncode == 2, (done.stdout, done.stderr)
    return done.stderr


@pytest.fixture
def cards(tmp_path):
    """Hosts with four cards of a kind."""

    def host(node: str) -> dict[str, str]:
        (tmp_path / "dev").mkdir()
        for number in range(4):
            (tmp_path / f"dev/{node}{number}").touch()
        return {"HOST_ROOT": str(tmp_path)}

    return host


TRAIN = ".venv/bin/python -m danlu train"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train pretrain data.train=x.jsonl", f"{TRAIN} pretrain data.train=x.jsonl"),
        ("train pretrain data.train='a b.jsonl'", f"{TRAIN} pretrain data.train=a\\ b.jsonl"),
        ("pretrain", f"{TRAIN} pretrain"),
        ("pretrain --set seed=1 --set epochs=2", f"{TRAIN} pretrain seed=1 epochs=2"),
        ("pretrain --use-moe", f"{TRAIN} pretrain model=26m-moe"),
        ("train pretrain model=tiny --use-moe", f"{TRAIN} pretrain model=tiny model=tiny-moe"),
        (
            "pretrain --hidden-size 640 --num-hidden-layers=4",
            f"{TRAIN} pretrain model.hidden_size=640 model.num_hidden_layers=4",
        ),
        ("pretrain --dtype float32 --device cpu", f"{TRAIN} pretrain dtype=float32 device=cpu"),
        ("pretrain --resume --set run_dir=runs/a", f"{TRAIN} pretrain run_dir=runs/a resume=true"),
        ("sft", f"{TRAIN} sft from=out/pretrain_512"),
        ("full_sft", f"{TRAIN} sft from=out/pretrain_512"),
        ("sft --use-moe --hidden-size 640", f"{TRAIN} sft from=out/pretrain_640_moe"),
        ("train sft from=elsewhere", f"{TRAIN} sft from=elsewhere"),
        ("train sft from=", f"{TRAIN} sft from="),
        ("reason --from full_sft", f"{TRAIN} reason from=out/full_sft_512"),
        ("train my.yaml seed=3", f"{TRAIN} my.yaml seed=3"),
        ("pretrain --config my.yaml", f"{TRAIN} my.yaml"),
        ("pretrain sft", f"{TRAIN} pretrain\n{TRAIN} sft from=out/pretrain_512"),
        ("chat --weight full_sft --prompt hi", ".venv/bin/python -m danlu chat out/full_sft_512 --prompt hi"),
        (
            "serve --weight full_sft --port 0 --name smith",
            ".venv/bin/python -m danlu serve out/full_sft_512 --port 0 --name smith",
        ),
        (
            "serve --weight pretrain --hidden-size 640 --use-moe",
            ".venv/bin/python -m danlu serve out/pretrain_640_moe",
        ),
        (
            "eval --weight pretrain perplexity held.jsonl",
            ".venv/bin/python -m danlu eval perplexity out/pretrain_512 held.jsonl",
        ),
        (
            "eval --weight tool_sft tools --limit 9",
            ".venv/bin/python -m danlu eval tools out/tool_sft_512 --limit 9",
        ),
        (
            "eval tools --endpoint http://localhost:8000",
            ".venv/bin/python -m danlu eval tools --endpoint http://localhost:8000",
        ),
        ("test tests/base -k paths", ".venv/bin/python -m pytest -m not\\ slow tests/base -k paths"),
    ],
)
def test_the_command_of_a_step(clone, words, expected):
    assert plan(clone, words, ACCELERATOR="cpu") == expected


def test_all_tests_are_the_quick_ones_together_then_the_slow_ones_alone(clone):
    quick, slow = plan(clone, "test --all").splitlines()
    assert re.fullmatch(r"\.venv/bin/python -m pytest -m not\\ slow --numprocesses [1-4]", quick)
    assert slow == ".venv/bin/python -m pytest -m slow"
    assert plan(clone, "test") == quick


@pytest.mark.parametrize(
    ("node", "variable"), [("davinci", "ASCEND_RT_VISIBLE_DEVICES"), ("nvidia", "CUDA_VISIBLE_DEVICES")]
)
def test_all_cards_of_a_host_train_unless_some_are_chosen(clone, cards, node, variable):
    host = cards(node)
    torchrun = ".venv/bin/python -m torch.distributed.run --nproc-per-node {} --nnodes 1 --standalone"
    assert plan(clone, "pretrain", **host) == f"{torchrun.format(4)} -m danlu train pretrain"
    assert plan(clone, "pretrain --devices 1,3", **host) == (
        f"env {variable}=1\\,3 {torchrun.format(2)} -m danlu train pretrain"
    )
    assert plan(clone, "pretrain --devices 2", **host) == f"env {variable}=2 {TRAIN} pretrain"


def test_several_hosts_name_their_place(clone, cards):
    host = cards("nvidia") | {"NODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "first"}
    expected = "--nproc-per-node 4 --nnodes 2 --node-rank 1 --master-addr first"
    assert expected in plan(clone, "pretrain", **host)
    done = call("bash", "run_all.sh", "pretrain", cwd=clone, **(host | {"NODE_RANK": ""}))
    assert done.returncode != 0 and "NODE_RANK" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pretrian", "there is no step 'pretrian'"),
        ("setup nonsense", "there is no step 'nonsense'"),
        ("train pretrian", "there is no stage 'pretrian'"),
        ("train", "there is no stage ''"),
        ("--all setup", "--all means nothing to: setup"),
        ("--frobnicate setup", "--frobnicate means nothing to: setup"),
        ("setup --with", "--with wants a value"),
        ("sft --hidden-size 999", "no finished weights 'pretrain' here"),
        ("eval", "measure what?"),
        ("--device tpu setup", "unknown device 'tpu'"),
        ("setup --with cake", "--with cake?"),
    ],
)
def test_what_is_not_understood_is_refused_before_anything_runs(clone, words, says):
    assert says in problem(clone, words)


def test_help_shows_what_is_there_and_nothing_else(clone):
    for language in ("en", "zh"):
        told = call("bash", "run_all.sh", "--lang", language, "--help", cwd=clone).stdout
        shown = set(re.findall(r"^  ([a-z_]+)  ", told, re.MULTILINE))
        launchers = {path.stem for path in (ROOT / "launch").glob("*.sh") if path.stat().st_mode & 0o100}
        assert launchers | set(said("stages").split()) <= shown
        for name in shown:
            assert said(f"declare -A PRESETS=(); steps_of {name}") == name
        for script in launchers:
            for option in re.findall(
                r"^#   (--[a-z-]+)", (ROOT / f"launch/{script}.sh").read_text(), re.MULTILINE
            ):
                assert option in told


def test_steps_know_their_help(clone):
    assert "goes to pytest" in call("bash", "run_all.sh", "test", "--help", cwd=clone).stdout
    assert "交给 pytest" in call("bash", "run_all.sh", "--lang=zh", "test", "--help", cwd=clone).stdout
    assert "width of the model" in call("bash", "run_all.sh", "pretrain", "--help", cwd=clone).stdout


def test_a_new_launcher_is_a_new_step(tmp_path):
    clone = small_clone(tmp_path)
    (clone / "launch/bake.sh").write_text(
        "#!/usr/bin/env bash\n# Bake a cake.\n#\n#   --icing COLOUR   on top\nset -Eeuo pipefail\n"
        'source launch/lib.sh\noptions launch/bake.sh "$@"\nrun bake "${OPT[icing]:-plain}"\n'
    )
    assert "there is no step 'bake'" in problem(clone, "bake")
    (clone / "launch/bake.sh").chmod(0o755)
    assert plan(clone, "bake --icing pink") == "bake pink"
    assert "Bake a cake." in call("bash", "run_all.sh", "--help", cwd=clone).stdout


def test_a_preset_is_there_once_its_steps_are(tmp_path):
    clone = small_clone(tmp_path)
    code = "declare -A PRESETS=([cake]='setup bake'); steps_of cake"
    assert said(f"{code} || echo none", clone) == "none"
    (clone / "launch/bake.sh").touch(mode=0o755)
    assert said(code, clone) == "setup bake"


def test_a_step_that_fails_ends_the_story_and_says_how_to_go_on(tmp_path):
    clone = small_clone(tmp_path)
    for name, status in (("one", 0), ("two", 3), ("three", 0)):
        (clone / f"launch/{name}.sh").write_text(f"# Step.\necho {name}\nexit {status}\n")
        (clone / f"launch/{name}.sh").chmod(0o755)
    done = call("bash", "run_all.sh", "one", "two", "three", cwd=clone)
    assert (done.returncode, done.stdout.split()) == (3, ["one", "two"])
    assert "bash run_all.sh two three" in done.stderr


def test_takes_value_and_known_to_a_step():
    assert said("takes_value --with && takes_value --lang && echo yes") == "yes"
    assert said("takes_value --use-moe || echo no") == "no"
    assert "--all means nothing to: setup" in refused("STEPS=(setup); known_to_a_step --all")
    assert said("STEPS=(setup test); known_to_a_step --all; echo yes") == "yes"
    assert said("knows launch/setup.sh --with=vllm && echo yes") == "yes"


def test_launchers_are_the_scripts_that_can_be_run():
    found = said("launchers").split()
    assert "launch/setup.sh" in found and "launch/lib.sh" not in found
    assert said("launcher sft; launcher setup; launcher lib").split() == [
        "launch/train.sh",
        "launch/setup.sh",
    ]


def test_the_words_become_steps_options_and_the_rest():
    code = 'read_words "$@"; echo "${STEPS[*]} | ${GIVEN[*]} | ${REST[*]}"'
    words = "declare -A PRESETS=(); set -- --with vllm setup test --all -k x;"
    assert said(words + code) == "setup test | --with=vllm | --all -k x"


def test_step_and_entry_and_help_are_the_parts_of_run_all():
    assert said("entry name text") == "name               text"
    assert "Steps" in said("declare -A PRESETS=(); help")
    assert said("STEPS=(test); GIVEN=(--all); REST=(-k x); DRY_RUN=1 step 0 | tail -n 1").endswith(
        "-m slow -k x"
    )


def test_danlu_runs_from_anywhere_and_says_when_it_cannot(clone, tmp_path):
    link = tmp_path / "danlu"
    link.symlink_to(ROOT / "danlu")
    if (ROOT / ".venv/bin/python").exists():
        assert "danlu, version" in call(link, "--version", cwd=tmp_path).stdout
    bare = small_clone(tmp_path / "bare")
    done = call(bare / "danlu", "--version")
    assert done.returncode == 2
    assert done.stderr == f"error: this clone is not set up yet\n  try: bash {bare}/run_all.sh setup\n"
