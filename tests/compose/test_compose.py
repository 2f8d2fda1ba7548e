"""The compose files: understood by both generations of compose, hardened, documented, true to the matrix."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from compose.files import (
    DEVICES,
    FILES,
    FOLDER,
    merged,
    passed_on,
    read,
    services,
    variables,
    without_comments,
)
from danlu import serving, vllm_start
from danlu.base.errors import UserError
from shell import ROOT, bash, call, export, finish, said, small_clone

ROOTS = ROOT / "compose.yaml"
EXAMPLE = (FOLDER / ".env.example").read_text(encoding="utf-8")
MATRIX = yaml.safe_load((ROOT / "configs/matrix.yaml").read_text(encoding="utf-8"))
DEFAULTS = dict(re.findall(r"^#?(\w+)=(.*)$", EXAMPLE, re.MULTILINE))
# Empty in the example because it is another one on each device; the example says which.
BY_DEVICE = {"DANLU_MEMORY", "DANLU_BACKEND", "DANLU_TRAIN_IMAGE", "DANLU_SERVE_IMAGE", "DANLU_WEB_IMAGE"}
VALUES = re.compile(r"\$\{\w+:?-([^}]*)\}")
EVERY = [(device, name) for device in DEVICES for name in services(device)]


def generations():
    """The composes of this host, as commands."""
    found = [["docker-compose"]] if shutil.which("docker-compose") else []
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        found.append(["docker", "compose"])
    return found


def configured(compose, device, *words, **env):
    """What compose itself makes of the files."""
    command = [*compose, *words, "--profile", "train", "--profile", "web", "config"]
    done = call(*command, DANLU_DEVICE=device, **env)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


@pytest.mark.parametrize("device", DEVICES)
def test_every_generation_of_compose_here_understands_the_files(device):
    if shutil.which("docker") is None or not (found := generations()):
        pytest.skip("no compose on this host")
    for compose in found:
        whole = configured(compose, device)
        assert set(whole) == {"weights", "train", "serve", "web"}
        for name, ours in services(device).items():
            theirs = whole[name]
            assert theirs["read_only"] is True and theirs["cap_drop"] == ["ALL"]
            assert theirs["user"] == "1000:1000"
            assert theirs.get("image") == VALUES.sub(r"\1", ours["image"])
        assert whole["serve"]["depends_on"]["weights"]["condition"] == "service_completed_successfully"
        assert whole["web"]["depends_on"]["serve"]["condition"] == "service_healthy"
        assert f"{ROOT}" in json.dumps(whole["serve"]["volumes"])


def test_the_example_as_env_file_changes_nothing(tmp_path):
    if shutil.which("docker") is None or not (found := generations()):
        pytest.skip("no compose on this host")
    for compose in found:
        words = ("--env-file", str(FOLDER / ".env.example"))
        assert configured(compose, "cpu", *words) == configured(compose, "cpu")


def test_serve_and_what_it_waits_for_have_no_profile():
    root = read(ROOTS)["services"]
    assert {name: service.get("profiles") for name, service in root.items()} == {
        "weights": None,
        "serve": None,
        "train": ["train"],
        "web": ["web"],
    }
    for device in DEVICES:
        assert services(device).keys() == root.keys()


def test_what_is_extended_waits_for_nobody():
    """Docker-compose 1.29 refuses to extend a service that does."""
    for path in FOLDER.glob("*.yaml"):
        assert "depends_on" not in without_comments(path)


@pytest.mark.parametrize(("device", "name"), EVERY)
def test_no_service_can_do_more_than_it_must(device, name):
    service = services(device)[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "network_mode" not in service
    assert service["user"] == "${DANLU_UID:-1000}:${DANLU_GID:-1000}"
    assert service["mem_limit"] and service["pids_limit"]
    assert all(re.match(r"/tmp:.*size=", place) for place in service["tmpfs"])
    assert "docker.sock" not in json.dumps(service)


@pytest.mark.parametrize(("device", "name"), EVERY)
def test_only_what_makes_something_may_write_the_clone(device, name):
    places = [place for place in services(device)[name]["volumes"] if not place.endswith(":ro")]
    assert places == (["..:/danlu"] if name in ("weights", "train") else [])


@pytest.mark.parametrize(("device", "name"), EVERY)
def test_a_port_is_this_hosts_alone_unless_asked(device, name):
    for port in services(device)[name].get("ports", []):
        assert port.startswith("${DANLU_BIND:-127.0.0.1}:")


def test_every_variable_has_a_default_and_is_documented_with_it():
    named: dict[str, set[str]] = {}
    for path in FILES:
        for name, defaults in variables(without_comments(path)).items():
            named.setdefault(name, set()).update(defaults)
    assert all("no default" not in defaults for defaults in named.values())
    for name, defaults in named.items():
        assert DEFAULTS[name] == "" if name in BY_DEVICE else {DEFAULTS[name]} == defaults, name
    assert set(DEFAULTS) == named.keys() | passed_on()
    assert all(f"#{name}=" in EXAMPLE for name in passed_on())


def test_images_are_the_matrix_s_and_none_is_latest():
    for device, kind in DEVICES.items():
        images = {name: VALUES.sub(r"\1", service["image"]) for name, service in services(device).items()}
        trains, serves = MATRIX["train_images"][kind], MATRIX["serve_images"][kind]
        assert images == {
            "weights": trains,
            "train": trains,
            "serve": serves,
            "web": MATRIX["gateway"]["image"],
        }
        for image in images.values():
            assert re.fullmatch(r"[\w./-]+:[\w.-]+", image) and not image.endswith("latest")


def test_an_ascend_container_is_handed_what_launchers_hand_one():
    service = services("ascend")["serve"]
    assert service["devices"][1:] == MATRIX["container_npu"]["nodes"].split()
    mounted = [VALUES.sub(r"\1", place).split(":")[0] for place in service["volumes"]]
    known = MATRIX["container_npu"]["files"].split() + ["/usr/local/Ascend/driver", ".."]
    assert set(mounted) <= set(known)


def test_both_languages_speak_in_the_example():
    comments = [line for line in EXAMPLE.splitlines() if line.startswith("# ")]
    chinese = [line for line in comments if re.search(r"[\u4e00-\u9fff]", line)]
    assert len(chinese) * 2 >= len(comments) - 4


def ready(folder):
    """A clone whose weights are there and exported, and a Python that is none of its own."""
    clone = small_clone(folder)
    shutil.copytree(FOLDER, clone / "compose")
    finish(clone, "full_sft_128")
    export(clone, "full_sft_128")
    return clone


def weights(clone, *words, **env):
    return call(
        "bash", "compose/weights.sh", *words, cwd=clone, DANLU_PYTHON="python3", ACCELERATOR="cpu", **env
    )


def test_weights_that_are_there_are_led_to(tmp_path):
    clone = ready(tmp_path / "clone")
    done = weights(clone)
    assert done.returncode == 0, done.stderr
    assert (clone / "out/.serving").resolve() == clone / "out/full_sft_128-hf"
    # What it leads to is found from wherever the clone is mounted.
    shutil.copytree(clone, tmp_path / "elsewhere", symlinks=True)
    assert (tmp_path / "elsewhere/out/.serving/serve.json").exists()


def test_weights_named_that_are_not_there_are_two_lines(tmp_path):
    done = weights(ready(tmp_path / "clone"), DANLU_WEIGHT="nothing")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 2


def test_weights_are_made_with_the_named_python(tmp_path):
    clone = small_clone(tmp_path / "clone")
    shutil.copytree(FOLDER, clone / "compose")
    done = weights(clone, "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    trained = [line for line in lines if line.startswith("python3 -m danlu train configs/starter/")]
    assert len(trained) == 3 and not any("setup" in line or ".venv" in line for line in lines)
    assert any(line.startswith("python3 -m convert to-hf") for line in lines)


def test_a_python_of_ones_own_needs_no_environment(tmp_path):
    clone = small_clone(tmp_path / "clone")
    assert said("DANLU_PYTHON=/x/python ready .venv base serve && echo whole", clone) == "whole"
    assert bash("ready .venv base", clone).returncode == 1
    assert bash("DANLU_PYTHON=/x/python ready .venv-vllm vllm", clone).returncode == 1


def test_extending_adds_lists_and_joins_maps():
    under = {"a": [1], "b": {"c": 1, "d": 2}, "e": 1}
    assert merged(under, {"a": [2], "b": {"d": 3}}) == {"a": [1, 2], "b": {"c": 1, "d": 3}, "e": 1}


@pytest.mark.parametrize("served", [serving.command, vllm_start.command], ids=["serve", "vllm"])
def test_a_server_in_a_container_wants_a_key_unless_its_port_is_this_hosts_alone(
    served, tmp_path, monkeypatch
):
    def problem(published, key):
        monkeypatch.setenv("DANLU_PUBLISHED", published)
        monkeypatch.setenv("DANLU_API_KEY", key)
        with pytest.raises(UserError) as raised:
            served.main([str(tmp_path / "none"), "--host", "0.0.0.0"], standalone_mode=False)
        return raised.value.problem

    for published in ("0.0.0.0", "10.0.0.7", ""):
        assert "use" in problem(published, "") and "server" in problem(published, "")
        assert "no such folder" in problem(published, "secret")
    assert "no such folder" in problem("127.0.0.1", "")
