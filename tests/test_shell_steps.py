"""run_all.sh and the launchers it calls: what would be run, for which words. Nothing is run here."""

import re
import shutil

import pytest

from shell import ROOT, call, finish, plan, problem, ready_clone, refused, said, small_clone


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone that looks set up, with finished weights; its path has a space and Chinese in it."""
    folder = ready_clone(tmp_path_factory.mktemp("some where 丹炉") / "clone")
    shutil.copytree(ROOT / "bench", folder / "bench")
    for name in ("pretrain_512", "pretrain_640_moe", "full_sft_512"):
        finish(folder, name)
    return folder


@pytest.fixture
def cards(tmp_path):
    """Hosts with four cards of a kind."""

    def host(node: str) -> dict[str, str]:
        (tmp_path / "dev").mkdir()
        for number in range(4):
            (tmp_path / f"dev/{node}{number}").touch()
        return {"HOST_ROOT": str(tmp_path)}

    return host


PYTHON = ".venv/bin/python -m"
TRAIN = f"{PYTHON} danlu train"
OWN = "--set data.train=x"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train pretrain data.train=x.jsonl", f"{TRAIN} pretrain data.train=x.jsonl"),
        ("train pretrain data.train='a b.jsonl'", f"{TRAIN} pretrain data.train=a\\ b.jsonl"),
        (f"pretrain {OWN}", f"{TRAIN} pretrain data.train=x"),
        (f"pretrain {OWN} --set epochs=2", f"{TRAIN} pretrain data.train=x epochs=2"),
        (f"pretrain {OWN} --use-moe", f"{TRAIN} pretrain data.train=x model=26m-moe"),
        (
            "train --use-moe pretrain data.train=x model=tiny",
            f"{TRAIN} pretrain data.train=x model=tiny model=tiny-moe",
        ),
        (
            f"pretrain {OWN} --hidden-size 640 --num-hidden-layers=4",
            f"{TRAIN} pretrain data.train=x model.hidden_size=640 model.num_hidden_layers=4",
        ),
        (
            f"pretrain {OWN} --dtype float32 --device cpu",
            f"{TRAIN} pretrain data.train=x dtype=float32 device=cpu",
        ),
        (f"pretrain {OWN} --resume", f"{TRAIN} pretrain data.train=x resume=true"),
        ("pretrain --resume --set run_dir=runs/a", f"{TRAIN} pretrain run_dir=runs/a resume=true"),
        (f"sft {OWN}", f"{TRAIN} sft data.train=x from=out/pretrain_512"),
        (f"full_sft {OWN}", f"{TRAIN} sft data.train=x from=out/pretrain_512"),
        (f"tool_sft {OWN}", f"{TRAIN} tool_sft data.train=x from=out/full_sft_512"),
        (
            f"sft --use-moe --hidden-size 640 {OWN}",
            f"{TRAIN} sft data.train=x from=out/pretrain_640_moe",
        ),
        ("train sft data.train=x from=elsewhere", f"{TRAIN} sft data.train=x from=elsewhere"),
        ("train sft data.train=x from=", f"{TRAIN} sft data.train=x from="),
        (f"sft --from hf://a/b {OWN}", f"{TRAIN} sft data.train=x from=hf://a/b"),
        (f"reason --from full_sft {OWN}", f"{TRAIN} reason data.train=x from=out/full_sft_512"),
        ("train my.yaml seed=3", f"{TRAIN} my.yaml seed=3"),
        ("pretrain --config my.yaml", f"{TRAIN} my.yaml"),
        (
            f"pretrain sft {OWN}",
            f"{TRAIN} pretrain data.train=x\n{TRAIN} sft data.train=x from=out/pretrain_512",
        ),
        ("data", f"{PYTHON} danlu data starter --out data/starter --quiet"),
        ("data check x.jsonl --fix", f"{PYTHON} danlu data check x.jsonl --fix"),
        ("tokenizer", f"{PYTHON} danlu tokenizer train"),
        ("tokenizer --text x --size 99", f"{PYTHON} danlu tokenizer train --text x --size 99"),
        ("tokenizer report x", f"{PYTHON} danlu tokenizer report x"),
        ("bench", f"{PYTHON} bench.startup"),
        ("bench moe --json", f"{PYTHON} bench.moe --json"),
        ("chat --weight full_sft --prompt hi", f"{PYTHON} danlu chat out/full_sft_512 --prompt hi"),
        (
            "chat --weight full_sft --device ascend",
            f"{PYTHON} danlu chat out/full_sft_512 --device npu",
        ),
        (
            "convert --weight full_sft --dtype float32",
            f"{PYTHON} convert to-hf out/full_sft_512 --out out/full_sft_512-hf --dtype float32",
        ),
        ("convert inspect x", f"{PYTHON} convert inspect x"),
        (
            "eval --weight pretrain perplexity held.jsonl",
            f"{PYTHON} danlu eval perplexity out/pretrain_512 held.jsonl",
        ),
        (
            "eval --weight tool_sft tools --limit 9",
            f"{PYTHON} danlu eval tools out/tool_sft_512 --limit 9",
        ),
        ("eval --weight full_sft", f"{PYTHON} danlu eval tools out/full_sft_512"),
        (
            "eval tools --endpoint http://localhost:8000",
            f"{PYTHON} danlu eval tools --endpoint http://localhost:8000",
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


def test_what_tests_need_is_installed_as_asked(tmp_path):
    clone = ready_clone(tmp_path)
    (clone / ".venv/ready-test").unlink()
    (clone / "launch/setup.sh").write_text('echo "setup $*"\n')
    (clone / "tests").mkdir()
    (clone / "tests/test_it.py").write_text("@pytest.mark.vllm\n")
    lines = plan(clone, "test --mirror --offline").splitlines()
    assert lines[:2] == ["setup --extra test --mirror --offline", "setup --with vllm --mirror --offline"]


@pytest.mark.parametrize(
    ("node", "variable"), [("davinci", "ASCEND_RT_VISIBLE_DEVICES"), ("nvidia", "CUDA_VISIBLE_DEVICES")]
)
def test_all_cards_of_a_host_train_unless_some_are_chosen(clone, cards, node, variable):
    host = cards(node)
    torchrun = ".venv/bin/python -m torch.distributed.run --nproc-per-node {} --nnodes 1 --standalone"
    train = f"pretrain {OWN}"
    does = "-m danlu train pretrain data.train=x"
    assert plan(clone, train, **host) == f"{torchrun.format(4)} {does}"
    assert plan(clone, f"{train} --devices 1,3", **host) == (
        f"env {variable}=1\\,3 {torchrun.format(2)} {does}"
    )
    assert plan(clone, f"{train} --devices 2", **host) == f"env {variable}=2 .venv/bin/python {does}"


def test_several_hosts_name_their_place(clone, cards):
    host = cards("nvidia") | {"NODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "first"}
    expected = "--nproc-per-node 4 --nnodes 2 --node-rank 1 --master-addr first"
    assert expected in plan(clone, f"pretrain {OWN}", **host)
    assert "NODE_RANK" in problem(clone, f"pretrain {OWN}", **(host | {"NODE_RANK": ""}))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pretrian", "there is no step 'pretrian'"),
        ("setup nonsense", "there is no step 'nonsense'"),
        ("train pretrian", "there is no stage 'pretrian'"),
        ("train", "train what?"),
        ("--use-moe", "no step was named"),
        ("serve chat", "serve does not end by itself"),
        ("@", "there is no step '@'"),
        ("--set --dry-run sft", "--set wants a value"),
        ("--use-moe=no serve", "--use-moe takes no value"),
        ("--lang fr status", "--lang fr?"),
        ("--all setup", "--all means nothing to: setup"),
        ("--frobnicate setup", "--frobnicate means nothing to: setup"),
        ("setup --with", "--with wants a value"),
        ("sft --hidden-size 999 --set data.train=x", "no finished weights 'pretrain' --hidden-size 999 here"),
        ("reason --from nothing --set data.train=x", "no finished weights 'nothing' here"),
        ("--use-moe train my.yaml", "--use-moe: of which model?"),
        ("bench cake", "there is no measurement 'cake'"),
        ("--runtime cake data", "--runtime cake?"),
        ("--backend cake serve", "--backend cake?"),
        ("--port 99999 serve", "--port 99999: not a port"),
        ("--device tpu setup", "unknown device 'tpu'"),
        ("--device tpu setup serve", "unknown device 'tpu'"),
        ("--runtime lxc setup pretrain", "--runtime lxc?"),
        ("train sft --runtime lxc", "--runtime lxc?"),
        ("setup --with cake", "--with cake?"),
    ],
)
def test_what_is_not_understood_is_refused_before_anything_runs(clone, words, says):
    assert says in problem(clone, words)


def test_help_shows_what_is_there_and_nothing_else(clone):
    launchers = {path.stem for path in (ROOT / "launch").glob("*.sh") if path.stat().st_mode & 0o100}
    texts = [(ROOT / f"launch/{name}.sh").read_text(encoding="utf-8") for name in launchers]
    parts = {part for text in texts for part in re.findall(r"^source (launch/\w+\.sh)$", text, re.MULTILINE)}
    texts += [(ROOT / part).read_text(encoding="utf-8") for part in parts - {"launch/lib.sh"}]
    documented = {
        option for text in texts for option in re.findall(r"^#   (--[a-z-]+)", header(text), re.MULTILINE)
    }
    for language in ("en", "zh"):
        told = call("bash", "run_all.sh", "--lang", language, "--help", cwd=clone).stdout
        shown = set(re.findall(r"^  ([a-z_]+)  ", told, re.MULTILINE))
        assert shown == launchers | set(said("stages").split()) | {"core", "all", "demo"}
        assert documented <= set(re.findall(r"--[a-z-]+", told))


def header(script: str) -> str:
    return script.partition("\n\n")[0].partition("\nset ")[0]


@pytest.mark.parametrize("name", ["core", "all", "demo"])
def test_a_preset_is_a_story_that_can_be_told(name, tmp_path):
    """With nothing trained yet: every step of it finds what it needs, made by the steps before."""
    lines = plan(ready_clone(tmp_path), f"{name} --use-moe", ACCELERATOR="cpu").splitlines()
    made = [
        line for line in lines if "danlu data starter" in line or "danlu train" in line or "to-hf" in line
    ]
    assert len(made) == len(set(made)) == {"core": 4, "all": 5, "demo": 5}[name]
    assert all("_moe" in line for line in made[2:])


def test_steps_know_their_help(clone):
    assert "goes to pytest" in call("bash", "run_all.sh", "test", "--help", cwd=clone).stdout
    for words in ("--lang=zh test --help", "test --help --lang zh"):
        assert "交给 pytest" in call("bash", "run_all.sh", *words.split(), cwd=clone).stdout
    for words in ("pretrain", "serve"):
        told = call("bash", "run_all.sh", words, "--help", cwd=clone).stdout
        assert "width of the model" in told and "host or docker" in told


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
    assert "mend it, then go on: bash run_all.sh two three\n" in done.stderr


def test_a_story_that_was_stopped_says_how_to_go_on(clone):
    assert said("STEPS=(setup sft convert); GIVEN=('--set=a=b c'); again 130 1") == (
        "--set=a=b\\ c --resume sft convert"
    )
    assert said("STEPS=(setup sft convert); GIVEN=(--resume); again 130 1") == "--resume sft convert"
    assert said("STEPS=(data chat); REST=(--prompt 'a b'); again 143 0") == "data chat --prompt a\\ b"


def test_steps_in_turn_tell_how_long_each_took(tmp_path):
    clone = small_clone(tmp_path)
    for name in ("one", "two"):
        (clone / f"launch/{name}.sh").write_text("# Step.\n")
        (clone / f"launch/{name}.sh").chmod(0o755)
    done = call("bash", "run_all.sh", "one", "two", cwd=clone)
    assert "step 2 of 2: two" in done.stderr
    assert re.search(r"all done: one [01] s; two [01] s\n", done.stderr)
    assert "steps_in_turn" in said("declare -f steps_in_turn")


def test_takes_value_and_known_to_a_step():
    assert said("takes_value --with && takes_value --lang && echo yes") == "yes"
    assert said("takes_value --use-moe || echo no") == "no"
    assert "--all means nothing to: setup" in refused("STEPS=(setup); known_to_a_step --all")
    assert said("STEPS=(setup test); known_to_a_step --all; echo yes") == "yes"
    assert said("knows launch/setup.sh --with=vllm && echo yes") == "yes"


def test_launchers_are_the_scripts_that_can_be_run():
    found = said("launchers").split()
    assert "launch/setup.sh" in found and "launch/lib.sh" not in found
    assert found.index("launch/data.sh") < found.index("launch/convert.sh") < found.index("launch/clean.sh")
    assert said("launcher sft; launcher setup; launcher lib").split() == [
        "launch/train.sh",
        "launch/setup.sh",
    ]


def test_the_words_become_steps_options_and_the_rest():
    code = 'read_words "$@"; echo "${STEPS[*]} | ${GIVEN[*]} | ${REST[*]}"'
    words = "declare -A PRESETS=(); set -- --with vllm setup test --all -k x;"
    assert said(words + code) == "setup test | --with=vllm | --all -k x"
    assert refused("declare -A PRESETS=(); read_words ''").startswith("error: there is no step ''")


@pytest.mark.parametrize(
    ("words", "steps", "rest"),
    [
        ("pretrain sft convert serve --port 9", "pretrain sft convert serve", "--port 9"),
        ("setup data tokenizer eval test", "setup data tokenizer eval test", ""),
        ("data convert a.csv", "data", "convert a.csv"),
        ("tokenizer train --text a", "tokenizer", "train --text a"),
        ("train pretrain x=1", "train", "pretrain x=1"),
        ("vllm stop", "vllm", "stop"),
        ("--detach serve eval tools", "serve eval", "tools"),
    ],
)
def test_another_steps_name_is_the_next_step_unless_the_step_has_a_use_for_it(words, steps, rest):
    code = f'declare -A PRESETS=(); read_words {words}; echo "${{STEPS[*]}} | ${{REST[*]}}"'
    assert said(code) == f"{steps} | {rest}".strip()
    assert said("declare -A PRESETS=(); own data convert; own data show; own data chat || echo no") == "no"


def test_step_and_entry_and_help_are_the_parts_of_run_all():
    assert said("entry name text") == "name                    text"
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
