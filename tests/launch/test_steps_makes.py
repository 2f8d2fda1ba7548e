"""What a step needs is found, made, or named with what makes it: launch/makes.sh, weights.sh, serving.sh."""

import json
import re

import pytest

from launch.steps import CPU, PYTHON, SOURCES, tell
from shell import ROOT, bash, call, finish, later, plan, problem, refused, said


def stages(lines: str) -> list[str]:
    """The recipes that a plan trains, in its order."""
    return re.findall(r"danlu train configs/starter/(\w+)\.yaml", lines)


def starter(clone, *names: str) -> None:
    """Put the starter's data, and weights as its own training leaves them, into a clone."""
    (clone / "data/starter").mkdir(parents=True, exist_ok=True)
    (clone / "data/starter/README.md").touch()
    (clone / "data/starter/pretrain.jsonl").write_text("{}\n")
    for name in names:
        run = f"runs/starter/{name}"
        moe = "_moe" if name.endswith("_moe") else ""
        stage = {"pretrain": "pretrain", "full_sft": "sft", "tool_sft": "tool_sft"}[name.partition("_128")[0]]
        before = {"pretrain": "", "sft": f"out/pretrain_128{moe}", "tool_sft": f"out/full_sft_128{moe}"}[
            stage
        ]
        words = f"from={before}" if before else f"model=tiny{moe.replace('_', '-')}"
        number = tell(clone, f"{'OPT[use_moe]=1;' if moe else ''} made_from {stage} '{before}' {words}")
        (clone / run).mkdir(parents=True, exist_ok=True)
        (clone / run / "made-from").write_text(number + "\n")
        later(clone / run / "made-from")
        finish(clone, name, run=run)


THE_STARTER = ["pretrain", "sft", "tool_sft"]


def test_serve_on_a_clone_with_nothing_makes_everything_in_order(clone):
    lines = plan(clone, "--use-moe serve", **CPU).splitlines()
    assert lines == [
        f"{PYTHON} danlu data starter --out data/starter --quiet",
        f"{PYTHON} danlu train configs/starter/pretrain.yaml model=tiny-moe"
        " run_dir=runs/starter/pretrain_128_moe",
        f"{PYTHON} danlu train configs/starter/sft.yaml from=out/pretrain_128_moe"
        " run_dir=runs/starter/full_sft_128_moe",
        f"{PYTHON} danlu train configs/starter/tool_sft.yaml from=out/full_sft_128_moe"
        " run_dir=runs/starter/tool_sft_128_moe",
        f"{PYTHON} convert to-hf out/tool_sft_128_moe --out out/tool_sft_128_moe-hf",
        f"{PYTHON} danlu serve out/tool_sft_128_moe-hf --port 8000",
    ]


def test_that_nothing_was_named_or_trained_is_said(clone):
    done = call("bash", "run_all.sh", "--dry-run", "serve", cwd=clone, **CPU)
    assert "no weights were named, and none are trained yet" in done.stderr
    assert "training the starter's tiny: three stages" in done.stderr


@pytest.mark.parametrize("step", ["chat", "convert", "eval", "vllm", "serve --backend vllm"])
def test_every_step_that_works_on_weights_makes_them(clone, step):
    assert stages(plan(clone, step, **CPU)) == THE_STARTER


@pytest.mark.parametrize(
    ("there", "trained"),
    [
        ([], THE_STARTER),
        (["pretrain_128"], ["sft", "tool_sft"]),
        (["pretrain_128", "full_sft_128"], ["tool_sft"]),
        (["pretrain_128", "full_sft_128", "tool_sft_128"], []),
    ],
)
def test_what_is_newer_than_what_it_is_made_from_is_not_made_again(clone, there, trained):
    starter(clone, *there)
    assert stages(plan(clone, "tool_sft", **CPU)) == trained


def change_recipe(clone):
    recipe = clone / "configs/starter/sft.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8") + "seed: 7\n", encoding="utf-8")


def change_data(clone):
    (clone / "data/starter/pretrain.jsonl").write_text("{}\n{}\n")


def lose_a_run(clone):
    (clone / "runs/starter/full_sft_128/made-from").unlink()


def begin_again(clone):
    later(clone / "runs/starter/full_sft_128/made-from")


@pytest.mark.parametrize(
    ("change", "trained"),
    [
        (change_recipe, ["sft"]),
        (change_data, THE_STARTER),
        (lose_a_run, ["sft"]),
        (begin_again, ["sft"]),
    ],
)
def test_what_is_older_than_what_it_is_made_from_is_made_again(clone, change, trained):
    starter(clone, "pretrain_128", "full_sft_128", "tool_sft_128")
    assert stages(plan(clone, "tool_sft", **CPU)) == []
    change(clone)
    assert stages(plan(clone, "tool_sft", **CPU)) == trained


def test_the_mixture_and_the_dense_starter_are_two(clone):
    starter(clone, "pretrain_128", "full_sft_128", "tool_sft_128")
    lines = plan(clone, "--use-moe tool_sft", **CPU)
    assert stages(lines) == THE_STARTER and "from=out/pretrain_128_moe" in lines


def test_a_stage_that_was_stopped_goes_on(clone):
    starter(clone, "pretrain_128")
    (clone / "runs/starter/full_sft_128").mkdir()
    (clone / "runs/starter/full_sft_128/latest").touch()
    assert plan(clone, "sft", **CPU).endswith(" run_dir=runs/starter/full_sft_128 resume=true")


def test_weights_of_another_run_are_used_and_never_replaced(clone):
    starter(clone)
    finish(clone, "pretrain_128", run="runs/mine")
    done = call("bash", "run_all.sh", "--dry-run", "sft", cwd=clone, **CPU)
    assert stages(done.stdout) == ["sft"] and "from=out/pretrain_128" in done.stdout
    assert "out/pretrain_128 is from another run; it is used as it is" in done.stderr


def test_an_unfinished_starter_goes_on_but_finished_stages_are_what_was_asked_for(clone):
    starter(clone, "pretrain_128_moe", "full_sft_128_moe")
    assert stages(plan(clone, "serve", **CPU)) == []  # somebody trained just these
    (clone / "runs/starter/wanted_moe").touch()
    assert stages(plan(clone, "serve", **CPU)) == ["tool_sft"]
    finish(clone, "full_sft_640")
    assert "serve out/full_sft_640-hf" in plan(clone, "serve", **CPU)  # a newer one is meant


def test_a_stage_with_words_of_its_own_starts_from_the_starters_weights(clone):
    starter(clone, "pretrain_128")
    assert plan(clone, "sft --set epochs=3", **CPU) == (
        f"{PYTHON} danlu train configs/starter/sft.yaml epochs=3 from=out/pretrain_128"
    )


@pytest.mark.parametrize(("words", "device"), [("", "0"), ("--devices 1", "1"), ("--devices 0-1", "0\\,1")])
def test_the_starter_takes_one_card_unless_some_are_chosen(clone, tmp_path, words, device):
    (tmp_path / "host/dev").mkdir(parents=True)
    for number in range(2):
        (tmp_path / f"host/dev/nvidia{number}").touch()
    lines = plan(clone, f"pretrain {words}", HOST_ROOT=str(tmp_path / "host")).splitlines()
    assert lines[-1].startswith(f"env CUDA_VISIBLE_DEVICES={device} ")


def test_another_size_of_the_starter_keeps_apart(clone):
    starter(clone, "pretrain_128")
    assert plan(clone, "pretrain --hidden-size 192 --num-hidden-layers 6", **CPU) == (
        f"{PYTHON} danlu train configs/starter/pretrain.yaml model=tiny model.hidden_size=192"
        " model.num_hidden_layers=6 run_dir=runs/starter/pretrain_192"
    )


def test_where_to_compute_reaches_what_is_made_on_the_way(clone):
    lines = plan(clone, "serve --device cpu").splitlines()
    assert all("device=cpu" in line for line in lines if " train " in line)
    assert lines[-1].endswith("--device cpu")


@pytest.mark.parametrize(
    ("words", "served"),
    [
        ("", "full_sft_640_moe"),
        ("--weight pretrain", "pretrain_512"),
        ("--weight out/pretrain_512", "pretrain_512"),
        ("--weight pretrain_768", "pretrain_768"),
        ("--weight pretrain --hidden-size 768", "pretrain_768"),
        ("--weight pretrain --num-hidden-layers 16", "pretrain_768"),
        ("--weight full_sft", "full_sft_512"),
        ("--weight sft", "full_sft_512"),
        ("--weight full_sft --use-moe", "full_sft_640_moe"),
        ("--use-moe", "full_sft_640_moe"),
        ("--hidden-size 512", "full_sft_512"),
    ],
)
def test_weights_are_found_by_name_size_kind_and_age(clone, words, served):
    for name, layers in (
        ("pretrain_768", 16),
        ("pretrain_512", 8),
        ("full_sft_512", 8),
        ("full_sft_640_moe", 8),
    ):
        finish(clone, name, layers=layers)
    (clone / "out/half_512").mkdir()  # no config.json: not finished
    assert plan(clone, f"chat {words}", **CPU) == f"{PYTHON} danlu chat out/{served}"


@pytest.mark.parametrize(
    ("words", "missing", "makes"),
    [
        ("serve --weight dpo", "'dpo'", "bash run_all.sh train STAGE data.train=FILE.jsonl"),
        ("serve --weight full_sft", "'full_sft'", "bash run_all.sh train sft data.train=FILE.jsonl"),
        (
            "chat --weight tool_sft --hidden-size 768 --num-hidden-layers 16",
            "'tool_sft' --hidden-size 768 --num-hidden-layers 16",
            "bash run_all.sh --hidden-size 768 --num-hidden-layers 16 train tool_sft data.train=FILE.jsonl",
        ),
        (
            "serve --use-moe --hidden-size 768",
            "'tool_sft' --use-moe --hidden-size 768",
            "bash run_all.sh --use-moe --hidden-size 768 train tool_sft data.train=FILE.jsonl",
        ),
        (
            "sft --set data.train=x",
            "'pretrain'",
            "bash run_all.sh train pretrain data.train=FILE.jsonl",
        ),
    ],
)
def test_what_cannot_be_made_is_named_with_the_command_that_makes_it(clone, words, missing, makes):
    told = problem(clone, words.replace("serve", "serve --port 0"), **CPU)
    assert f"no finished weights {missing}" in told and f"try: {makes}\n" in told


def test_weights_that_are_not_there_are_refused_before_anything_is_installed(clone):
    (clone / ".venv/ready-convert").unlink()
    (clone / "launch/setup.sh").write_text("echo installing >&2\n")
    for step in ("serve --port 0", "convert"):
        assert "installing" not in problem(clone, f"{step} --weight full_sft", **CPU)
    for step in ("serve --port 0", "vllm --port 0", "chat"):
        told = problem(clone, f"{step} out/mine", **CPU)
        assert "'out/mine' means nothing here" in told and "--weight out/mine" in told
    code = "source launch/weights.sh; WORDS=(--quiet); no_names; OPT=(); need_named; echo none"
    assert said(code, clone) == "none"


def test_told_and_newest_and_the_names_of_things(clone):
    finish(clone, "pretrain_512", run="runs/a b")
    assert tell(
        clone, "told out/pretrain_512/run.json run_dir; told out/pretrain_512/config.json hidden_size"
    ) == ("runs/a b\n512")
    assert tell(clone, "told out/pretrain_512/run.json nothing") == ""
    (clone / "one-line.json").write_text(json.dumps({"a": 1, "b": "two", "c": 3}))
    assert tell(clone, "told one-line.json a; told one-line.json b; told one-line.json c") == "1\ntwo\n3"
    assert tell(clone, "newest; weight_of sft; weight_of reason") == "full_sft\nreason"
    assert tell(clone, "maker_of full_sft; maker_of tool_sft_512; maker_of cake") == "sft\ntool_sft\nSTAGE"
    assert tell(clone, "would_be a/b/; would_be x_99; would_be sft") == "a/b\nout/x_99\nout/full_sft_512"
    assert (
        tell(clone, "OPT=([device]=cpu [mirror]=1); passed_on; echo ${PASSED[@]}") == "--device cpu --mirror"
    )
    assert tell(clone, "OPT[hidden_size]=9; starter_shape") == "model=tiny\nmodel.hidden_size=9"


def test_is_moe_and_fits_look_into_the_shape(clone):
    finish(clone, "pretrain_512", layers=3)
    folder = finish(clone, "mixed", num_local_experts=8)
    assert tell(clone, "is_moe out/mixed && echo yes; is_moe out/pretrain_512 || echo no") == "yes\nno"
    assert (
        tell(clone, "OPT[num_hidden_layers]=3; fits out/pretrain_512 && ! fits out/mixed && echo yes")
        == "yes"
    )
    (folder / "config.json").unlink()
    assert tell(clone, "fits out/mixed || echo no; fits out/absent || echo no") == "no\nno"


def test_a_run_of_other_things_is_begun_anew_and_an_unfinished_one_goes_on(clone):
    tell(clone, "begin_run runs/starter/a 1 && echo x >runs/starter/a/kept")
    assert tell(clone, "begin_run runs/starter/a 1; cat runs/starter/a/kept") == "x"
    tell(clone, "begin_run runs/starter/a 2")
    assert [path.name for path in (clone / "runs/starter/a").iterdir()] == ["made-from"]
    assert "was_made" in tell(clone, "was_made out/a runs/starter/a 2 || echo was_made not")
    tell(clone, "begin_run runs/starter/b 1", DRY_RUN="1")
    assert not (clone / "runs/starter/b").exists()


def test_training_that_was_not_finished_ends_what_wanted_it(clone):
    """The trainer says 0 where it was stopped and has saved; who waits for its weights must not go on."""
    starter(clone)
    (clone / "launch/train.sh").write_text("exit 0\n")
    done = bash(f"{SOURCES}; starter sft; echo went on", clone)
    assert done.returncode == 2 and "out/pretrain_128 was not finished" in done.stderr and not done.stdout


def test_what_is_begun_for_serving_is_marked_until_all_of_it_is_there(clone):
    starter(clone)
    (clone / "launch/train.sh").write_text("exit 1\n")
    assert bash(f"{SOURCES}; OPT[use_moe]=1; weights", clone).returncode == 1
    assert (clone / "runs/starter/wanted_moe").exists()
    starter(clone, "pretrain_128_moe", "full_sft_128_moe", "tool_sft_128_moe")
    assert tell(clone, "OPT[use_moe]=1; weights; echo $FOLDER") == "out/tool_sft_128_moe"
    assert not (clone / "runs/starter/wanted_moe").exists()


def test_every_recipe_of_the_starter_is_whole():
    """What a stage's own configuration would add stands in the recipe, so that one file tells all."""
    for recipe in sorted((ROOT / "configs/starter").glob("*.yaml")):
        text = recipe.read_text(encoding="utf-8")
        for key in ("stage", "seq_len", "batch_tokens", "epochs", "optim"):
            assert re.search(rf"^{key}:", text, re.MULTILINE), f"{recipe.name}: {key}"
    assert refused("source launch/makes.sh; need_finished cake").startswith(
        "error: no finished weights 'cake'"
    )
