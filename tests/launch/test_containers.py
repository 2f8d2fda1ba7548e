"""launch/container.sh, launch/images.sh: what `docker run` is told of a host, and that Python says so too."""

import os
import re
import shlex
import subprocess
from functools import partial
from pathlib import Path

import pytest

from danlu.device import hosting
from launch import roots
from launch.hosts import build
from shell import ROOT, call, refused, said, small_clone

DOCKER = "need_environment() { :; }; source launch/engine.sh; OPT[runtime]=docker; "
TRAIN = "engine base -m danlu train pretrain"


def command(code: str = TRAIN, cwd: Path = ROOT, **env: str) -> list[str]:
    """The words of the `docker run` that would be."""
    return shlex.split(
        said(DOCKER + code, cwd, **({"DRY_RUN": "1", "DANLU_CONTAINER_ENGINE": "docker"} | env))
    )


def given(words: list[str], option: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == option]


def no(code: str, **env: str) -> str:
    return refused(DOCKER + code, **env)


def test_every_function_is_tested():
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/launch").glob("test_*.py"))
    for library in ("engine", "devices", "container", "images"):
        source = (ROOT / f"launch/{library}.sh").read_text(encoding="utf-8")
        for function in re.findall(r"^(\w+)\(\) \{", source, re.MULTILINE):
            assert re.search(rf"\b{function}\b", tests), f"{library}.sh: {function}"


def test_a_container_leaves_nothing_behind_and_can_be_found(tmp_path):
    words = command(**roots.plain(tmp_path))
    assert words[:4] == ["docker", "run", "--rm", "--init"]
    assert re.fullmatch(r"danlu-bash-\d+", given(words, "--name")[0])
    assert given(words, "--label") == ["danlu=1"]
    assert not {"--privileged", "--ipc"} & set(words)
    assert "--detach" in command(f"OPT[detach]=1; {TRAIN}", **roots.plain(tmp_path / "again"))


def test_the_clone_lies_at_its_own_place_and_what_is_written_belongs_to_the_caller(tmp_path):
    clone = small_clone(tmp_path / "some where 丹炉")
    words = command(cwd=clone, **roots.plain(tmp_path / "root"))
    assert f"{clone}:{clone}" in given(words, "--volume") and given(words, "--workdir") == [str(clone)]
    assert given(words, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert {f"PYTHONPATH={clone}/src", f"HOME={clone}/.container"} <= set(given(words, "--env"))
    said(f"{DOCKER}make_home", clone)
    assert f"danlu:x:{os.getuid()}:{os.getgid()}:" in (clone / ".container/passwd").read_text()
    assert f"{clone}/.container/passwd:/etc/passwd:ro" in given(words, "--volume")


def test_a_colon_in_the_clones_path_is_refused(tmp_path):
    clone = small_clone(tmp_path / "a:b")
    done = call("bash", "-c", f"source launch/lib.sh; {DOCKER}{TRAIN}", cwd=clone, DRY_RUN="1")
    assert done.returncode == 2 and "cannot have a ':'" in done.stderr


def test_rootless_engines_map_their_own_root_to_the_caller(tmp_path):
    env = roots.plain(tmp_path)
    roots.with_docker(tmp_path, "28.2.2", "[name=seccomp,profile=builtin name=rootless] Debian")
    words = command(**env)
    assert "--user" not in words and not any("passwd" in word for word in words)
    roots.with_docker(tmp_path, "28.2.2")
    assert "--user" in command(**env)
    podman = {"DANLU_CONTAINER_ENGINE": "podman"}
    assert "--user" not in command("id() { echo 5000; }; " + TRAIN, **env, **podman)
    assert "--user" in command("id() { echo 0; }; " + TRAIN, **env, **podman)


def test_files_elsewhere_are_where_the_words_say(tmp_path):
    clone = small_clone(tmp_path / "clone")
    for folder in ("data", "big", "more"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data/x.jsonl").touch()
    (clone / "out").symlink_to(tmp_path / "big")
    words = command(
        f"engine base -m danlu train x data.train={tmp_path}/data/x.jsonl run_dir=../data/new seed=1 /",
        clone,
        **roots.plain(tmp_path / "root"),
        DANLU_MOUNTS=f"{tmp_path}/more",
    )
    places = [volume.partition(":")[0] for volume in given(words, "--volume")]
    expected = {tmp_path / "data/x.jsonl", tmp_path / "data", tmp_path / "big", tmp_path / "more"}
    assert {str(path) for path in expected} <= set(places)
    assert set(places) == {str(path) for path in expected} | {str(clone), f"{clone}/.container/passwd"}


def test_settings_are_passed_by_name_so_that_nobody_reads_them(tmp_path):
    env = {"HF_TOKEN": "secret", "https_proxy": "http://me:secret@there", "NCCL_DEBUG": "INFO", "OTHER": "1"}
    words = command(**roots.plain(tmp_path), **env)
    assert {"HF_TOKEN", "https_proxy", "NCCL_DEBUG"} <= set(given(words, "--env"))
    assert "secret" not in " ".join(words) and "OTHER" not in words


def test_shared_memory_is_half_of_memory(tmp_path):
    assert given(command(**roots.plain(tmp_path)), "--shm-size") == ["8000m"]
    (tmp_path / "proc/meminfo").unlink()
    assert said(f"{DOCKER}shared_memory", HOST_ROOT=str(tmp_path)) == "4096m"


def test_an_old_docker_gets_no_filter_that_threads_cannot_pass(tmp_path):
    env = roots.plain(tmp_path)
    for version, expected in (("18.09.0", ["seccomp=unconfined"]), ("20.10.10", []), ("28.2.2", [])):
        roots.with_docker(tmp_path, version)
        assert given(command(**env), "--security-opt") == expected, version
    roots.files(tmp_path, "sys/fs/selinux/enforce")
    (tmp_path / "sys/fs/selinux/enforce").write_text("1")
    assert given(command(**env), "--security-opt") == ["label=disable"]
    assert said(f"{DOCKER}latest 9.1 18.09.0 18.9") in ("18.09.0", "18.9")


def test_a_server_is_published_where_it_was_to_listen(tmp_path):
    env = roots.plain(tmp_path)
    words = command("engine 'base serve' -m danlu serve out/x --port 9000 --name smith", **env)
    assert given(words, "--publish") == ["127.0.0.1:9000:9000"] and "--network" not in words
    assert words[-8:] == "out/x --name smith --host 0.0.0.0 --port 9000 --insecure".split()
    open_to_all = command("engine 'base serve' -m danlu serve out/x --host=0.0.0.0 --port=80", **env)
    assert given(open_to_all, "--publish") == ["0.0.0.0:80:80"] and "--insecure" not in open_to_all
    six = command("engine 'base serve' -m danlu serve out/x --host ::1", **env)
    assert given(six, "--publish") == ["[::1]:8000:8000"]
    assert "a container's port has a number" in no(
        "engine base -m danlu serve out/x --port 0", **env, DRY_RUN="1"
    )


def test_all_else_shares_the_hosts_network(tmp_path):
    env = roots.plain(tmp_path) | {"NODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "first"}
    words = command("engine_ranks base -m danlu train pretrain", **env)
    assert given(words, "--network") == ["host"] and "--publish" not in words
    assert (
        words[words.index("danlu-train:cpu") + 1 :][:5]
        == "-m torch.distributed.run --nproc-per-node 1 --nnodes".split()
    )


def test_python_begins_in_the_image_after_the_settings_of_cann(tmp_path):
    words = command(**roots.ascend(tmp_path, 2))
    image = words.index("danlu-train:ascend")
    assert words[image - 2 : image] == ["--entrypoint", "bash"]
    assert words[image + 1] == "-c" and words[-5:] == "python3 -m danlu train pretrain".split()
    script, toolkit, last = words[image + 2], f"/nowhere {tmp_path}/a.sh {tmp_path}/b.sh", "/nowhere"
    (tmp_path / "a.sh").write_text("echo a\n")
    (tmp_path / "b.sh").write_text("echo b\n")
    assert call("bash", "-c", script, "--", toolkit, last, "echo", "then it").stdout == "a\nthen it\n"


@pytest.mark.parametrize(
    ("chip", "image"),
    [
        ("910B3", "danlu-train:ascend"),
        ("Ascend910", "danlu-train:ascend-a3"),
        ("310P3", "danlu-train:ascend-310p"),
        ("910ProB", "danlu-train:ascend-910"),
    ],
)
@pytest.mark.parametrize("folder", ["bin", "sbin"])
def test_each_generation_of_ascend_has_its_image(tmp_path, chip, image, folder):
    env = roots.ascend(tmp_path, 2, chip, folder)
    assert said(f"{DOCKER}chip_here", **env) == chip
    assert said(f"{DOCKER}train_image npu", **env) == image
    assert image.endswith(said(f"{DOCKER}image_suffix {chip}"))
    assert image in command(**env) and "mine" in command(**env, DANLU_IMAGE="mine")


def whole(kind: str, root: Path) -> dict[str, str]:
    """A host with all that a healthy one has."""
    build(kind, root)
    return {"HOST_ROOT": str(root)}


@pytest.mark.parametrize(
    ("kind", "image"), [("a2", ""), ("a3", "-a3"), ("310p", "-310p"), ("910a", "-910"), ("kylin", "")]
)
def test_a_whole_host_s_chip_is_read_from_its_own_tool(tmp_path, kind, image):
    assert said(f"{DOCKER}train_image npu", **whole(kind, tmp_path)) == f"danlu-train:ascend{image}"


def test_without_a_network_no_hub_is_asked(tmp_path):
    words = command(f"OPT[offline]=1; {TRAIN}", **roots.plain(tmp_path))
    assert "HF_HUB_OFFLINE" in given(words, "--env")


HOSTS = {
    "A2": lambda root: roots.ascend(root, 8, "910B3"),
    "A3: two chips a card": lambda root: roots.ascend(root, 16, "Ascend910"),
    "310P": lambda root: roots.ascend(root, 4, "310P3"),
    "910A, Kylin: npu-smi in sbin": lambda root: roots.ascend(root, 8, "910ProB", "sbin"),
    "a driver elsewhere": lambda root: roots.ascend(root, 8, driver="opt/Ascend/driver"),
    "cards, the toolkit": lambda root: roots.nvidia(root, 4),
    "cards, CDI": lambda root: roots.nvidia(root, 4, toolkit=False, cdi=True),
    "cards, both": lambda root: roots.nvidia(root, 4, cdi=True),
    "WSL": lambda root: roots.wsl(root, 4),
    **{f"a whole {kind}": partial(whole, kind) for kind in ("a2", "a3", "310p", "910a", "kylin", "cuda")},
}
CHANGES = {
    "as it is": lambda root: None,
    "an old docker": lambda root: roots.with_docker(root, "18.09.0"),
    "SELinux": lambda root: (
        roots.files(root, "sys/fs/selinux/enforce"),
        (root / "sys/fs/selinux/enforce").write_text("1"),
    ),
    "Ascend's runtime": lambda root: roots.files(
        root, "usr/local/Ascend/Ascend-Docker-Runtime/ascend-docker-runtime"
    ),
    "no node of the manager": lambda root: (root / "dev/davinci_manager").unlink(missing_ok=True),
    "unknown memory": lambda root: (root / "proc/meminfo").unlink(),
}


@pytest.mark.parametrize(
    ("engine", "change"), [("docker", change) for change in CHANGES] + [("podman", "Ascend's runtime")]
)
@pytest.mark.parametrize("kind", HOSTS)
def test_launchers_and_danlu_vllm_hand_over_the_same(tmp_path, monkeypatch, kind, change, engine):
    env = HOSTS[kind](tmp_path) | {"DANLU_CONTAINER_ENGINE": engine}
    CHANGES[change](tmp_path)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    chosen = hosting.choose("auto")
    assert chosen.numbers()[1] == 1
    code = (
        "given=(); choose_engine; choose_devices; give_host; "
        + 'give_$KIND "${CHOSEN[@]}"; printf "%s\\n" "${given[@]}"'
    )
    ours = said(f"{DOCKER}OPT[devices]=1; {code}", **env).splitlines()
    if "--user" in ours:  # the launchers' alone: a server writes nothing
        at = ours.index("--user")
        del ours[at : at + 4]
    assert ours == chosen.container([1])


def test_chips_are_handed_over_by_their_files_and_numbered_anew(tmp_path):
    words = command(
        f"OPT[devices]=4,10; {TRAIN}", **roots.ascend(tmp_path, 16, "Ascend910", "sbin", "opt/a/driver")
    )
    assert given(words, "--device") == [
        "/dev/davinci4",
        "/dev/davinci10",
        "/dev/davinci_manager",
        "/dev/devmm_svm",
        "/dev/hisi_hdc",
    ]
    volumes = given(words, "--volume")
    assert "/opt/a/driver/lib64:/usr/local/Ascend/driver/lib64:ro" in volumes
    assert "/usr/local/sbin/npu-smi:/usr/local/sbin/npu-smi:ro" in volumes and "/usr/local/bin" not in str(
        volumes
    )
    assert {"ASCEND_VISIBLE_DEVICES=4,10", "ASCEND_RT_VISIBLE_DEVICES=0,1"} <= set(given(words, "--env"))


def test_ascends_own_runtime_brings_its_devices_itself(tmp_path):
    env = roots.ascend(tmp_path, 8)
    roots.files(tmp_path, "usr/local/Ascend/Ascend-Docker-Runtime/ascend-docker-runtime")
    words = command(f"OPT[devices]=4; {TRAIN}", **env)
    assert given(words, "--runtime") == ["ascend"] and "--device" not in words
    assert {"ASCEND_VISIBLE_DEVICES=4", "ASCEND_RT_VISIBLE_DEVICES=0"} <= set(given(words, "--env"))


def test_cards_are_handed_over_by_the_toolkit_or_by_cdi(tmp_path):
    toolkit = command(f"OPT[devices]=2-3; {TRAIN}", **roots.nvidia(tmp_path / "a", 4))
    assert given(toolkit, "--gpus") == ['"device=2,3"']
    assert {"NVIDIA_VISIBLE_DEVICES=2,3", "CUDA_VISIBLE_DEVICES=0,1"} <= set(given(toolkit, "--env"))
    cdi = command(f"OPT[devices]=2-3; {TRAIN}", **roots.nvidia(tmp_path / "b", 4, toolkit=False, cdi=True))
    assert given(cdi, "--device") == ["nvidia.com/gpu=2", "nvidia.com/gpu=3"] and "--gpus" not in cdi
    wsl = command(f"OPT[devices]=1; {TRAIN}", **roots.wsl(tmp_path / "c", 2))
    assert given(wsl, "--gpus") == ["all"] and "CUDA_VISIBLE_DEVICES=1" in given(wsl, "--env")


def test_who_may_use_a_chip_through_a_group_has_it_inside_too(tmp_path):
    env = roots.ascend(tmp_path, 1)
    somebody = "id() { echo 5000; }; "
    (tmp_path / "dev/davinci0").chmod(0o660)
    assert given(command(somebody + TRAIN, **env), "--group-add") == [str(os.getgid())]
    assert given(command(somebody + TRAIN, **env), "--user") == ["5000:5000"]
    (tmp_path / "dev/davinci0").chmod(0o666)
    assert "--group-add" not in command(somebody + TRAIN, **env)


def test_an_image_that_is_not_there_is_built_or_named(tmp_path):
    clone = small_clone(tmp_path / "clone")
    tools = tmp_path / "tools"
    roots.script(tools / "docker", 'case "$*" in info*) ;; *) exit 1 ;; esac\n')
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "ACCELERATOR": "cpu"}
    done = call(
        "bash",
        "-c",
        f"source launch/lib.sh; {DOCKER}KIND=cpu; choose_engine; need_image mine",
        cwd=clone,
        **env,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: there is no image mine here\n"
        "  try: docker load --input FILE; DANLU_IMAGE=NAME; or --runtime host\n"
    )
    (clone / "Dockerfile.cpu").touch()
    (clone / "launch/build.sh").write_text("echo built $*\n")
    code = f"{DOCKER}KIND=cpu; choose_engine; need_image mine"
    assert said(code, clone, **env) == "built --device cpu"
    assert said(f"OPT[force_build]=1; {code}", clone, **env) == "built --device cpu --force-build"
    assert said(f"{DOCKER}dockerfile npu; dockerfile cuda") == "Dockerfile.ascend\nDockerfile.cuda"


def test_an_image_is_built_from_this_clones_dockerfile(tmp_path):
    clone = small_clone(tmp_path / "clone")

    def build(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return call("bash", "launch/build.sh", *words, cwd=clone, **env)

    done = build(ACCELERATOR="cuda")
    assert done.returncode == 2
    assert done.stderr == (
        "error: there is no Dockerfile.cuda in this clone\n  try: --runtime host; DANLU_IMAGE=NAME\n"
    )
    (clone / "Dockerfile.ascend").touch()
    words = build(
        "--dry-run", "--device", "ascend", "--force-build", **roots.ascend(tmp_path / "a3", 2, "Ascend910")
    )
    begin = "env DOCKER_BUILDKIT=1 docker build --file Dockerfile.ascend --target train --tag "
    assert words.stdout.startswith(f"{begin}danlu-train:ascend-a3 ")
    base = f"{said('matrix bases cann')}:{said('matrix ascend cann')}-a3-{said('matrix bases cann_system')}"
    assert f" --build-arg TRAIN_BASE={base} " in words.stdout
    assert words.stdout.strip().endswith(" --no-cache .")
    tools = tmp_path / "tools"
    # an engine that answers, and has every image
    roots.script(tools / "docker", 'if [ "$1" = version ]; then echo 27.0.1; fi\n')
    done = build(ACCELERATOR="npu", PATH=f"{tools}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (0, "==> already built: danlu-train:ascend\n")


def test_an_engine_that_is_missing_or_silent_is_told_with_its_remedy(tmp_path):
    env = {"ACCELERATOR": "cpu"}
    assert "there is no nodocker here" in no(TRAIN, **env, DANLU_CONTAINER_ENGINE="nodocker")
    silent = tmp_path / "docker"
    roots.script(silent, "exit 1\n")
    assert "does not answer" in no(TRAIN, **env, DANLU_CONTAINER_ENGINE=str(silent))
    assert "does not answer" in no("choose_engine; need_engine", DANLU_CONTAINER_ENGINE=str(silent))


def test_the_parts_by_themselves(tmp_path):
    env = roots.ascend(tmp_path, 2)
    assert said(f"{DOCKER}first_there /nowhere /dev/hisi_hdc", **env) == "/dev/hisi_hdc"
    assert said(f"{DOCKER}first_there /nowhere || echo none", **env) == "none"
    assert said(f"{DOCKER}installed_at", **env) == "/usr/local/Ascend"
    assert said(f"{DOCKER}installed_at", HOST_ROOT=str(tmp_path / "bare")) == "/usr/local/Ascend"
    assert said(f"{DOCKER}ask_engine --version; step_name", **env, DANLU_CONTAINER_ENGINE="docker") == "bash"
    assert said(f"{DOCKER}words=(); elsewhere; network=(); reach; echo ${{network[*]}}") == "--network host"
    assert said(f"{DOCKER}words=(); publish :: 80; echo ${{network[*]}}") == "--publish [::]:80:80"
    assert said(f"{DOCKER}CONTAINERS=true CONTAINERS_ARE=docker; is_rootless || echo no") == "no"
    for function in (
        "give_npu 1",
        "give_driver",
        "give_cuda 1",
        "give_groups",
        "mount_clone",
        "pass_settings",
    ):
        code = f"KIND=npu; given=(); words=(); choose_engine; {function}; printf '%s ' \"${{given[@]}}\""
        told = said(DOCKER + code, **env)
        assert not told or told.startswith("--")
    assert said(f"{DOCKER}run=(); attach; begin_in img; echo ${{run[*]}}").startswith("--interactive")
    assert said(f"{DOCKER}KIND=cpu; in_container base x", DRY_RUN="1").startswith("docker run")
