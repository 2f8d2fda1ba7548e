"""launch/devices.sh and launch/engine.sh: which devices a launcher uses, and in how many processes."""

import pytest

from launch import roots
from shell import refused, said

ENGINE = "need_environment() { :; }; source launch/engine.sh; "
TRAIN = ".venv/bin/python -m danlu train pretrain"
TORCHRUN = ".venv/bin/python -m torch.distributed.run --nproc-per-node"


def chosen(code: str = "", **env: str) -> str:
    return said(f'{ENGINE}{code} choose_devices; echo "$KIND $(joined "${{CHOSEN[@]}}") $LIMITED"', **env)


def ranks(code: str = "", **env: str) -> str:
    return said(f"{ENGINE}{code} engine_ranks base -m danlu train pretrain", DRY_RUN="1", **env)


def no(code: str, **env: str) -> str:
    return refused(f"{ENGINE}{code}", **env)


def test_numbers_are_those_of_the_device_files_in_order(tmp_path):
    env = roots.ascend(tmp_path, 12)
    (tmp_path / "dev/davinci5").unlink()
    assert said(f"{ENGINE}device_numbers npu", **env).split() == [
        str(number) for number in range(12) if number != 5
    ]


def test_the_cards_of_wsl_are_those_its_tool_tells(tmp_path):
    env = roots.wsl(tmp_path, 2)
    assert chosen(**env) == "cuda 0,1 0"
    roots.script(tmp_path / "usr/lib/wsl/lib/nvidia-smi", "exit 9\n")
    assert chosen(**env) == "cuda 0 0"


def test_all_devices_are_used_unless_some_are_named(tmp_path):
    env = roots.nvidia(tmp_path, 4)
    assert chosen(**env) == "cuda 0,1,2,3 0"
    assert chosen("OPT[devices]=3,0-1,1;", **env) == "cuda 0,1,3 1"


def test_a_schedulers_choice_stands_where_the_user_makes_none(tmp_path):
    env = roots.nvidia(tmp_path, 8) | {"CUDA_VISIBLE_DEVICES": "4,6"}
    assert chosen(**env) == "cuda 4,6 0"
    assert ranks(**env).startswith(f"{TORCHRUN} 2 ")
    assert chosen("OPT[devices]=1;", **env) == "cuda 1 1"
    assert ranks(**(env | {"CUDA_VISIBLE_DEVICES": "MIG-1c2d"})) == TRAIN
    assert ranks(**(env | {"CUDA_VISIBLE_DEVICES": ""})) == TRAIN


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("4", "there is no cuda device 4\n  try: this host has 0 1 2 3"),
        ("2-9", "there is no cuda device 4"),
        ("a", "--devices a: 'a'?"),
        ("0,,-1", "'-1'?"),
    ],
)
def test_devices_that_are_not_there_are_refused_in_two_lines(tmp_path, asked, says):
    error = no(f"OPT[devices]={asked}; choose_devices", **roots.nvidia(tmp_path, 4))
    assert says in error and len(error.splitlines()) == 2


def test_a_processor_has_no_numbers(tmp_path):
    error = no("OPT[devices]=0-3; choose_devices", **roots.plain(tmp_path))
    assert "its processor" in error and len(error.splitlines()) == 2
    assert chosen(**roots.plain(tmp_path / "other")) == "cpu  0"
    told = no("OPT[devices]=0; choose_devices", DANLU_LANG="zh", ACCELERATOR="cpu")
    assert "本机用处理器计算" in told


def test_a_process_is_shown_the_devices_chosen_by_its_makers_variable(tmp_path):
    npu = roots.ascend(tmp_path / "npu", 8)
    cuda = roots.nvidia(tmp_path / "cuda", 8)
    assert ranks("OPT[devices]=5;", **npu) == f"env ASCEND_RT_VISIBLE_DEVICES=5 {TRAIN}"
    assert ranks("OPT[devices]=5;", **cuda) == f"env CUDA_VISIBLE_DEVICES=5 {TRAIN}"
    one = said(f"{ENGINE}OPT[devices]=1-2; engine base -m danlu info", DRY_RUN="1", **cuda)
    assert one == "env CUDA_VISIBLE_DEVICES=1\\,2 .venv/bin/python -m danlu info"


def test_one_process_a_device(tmp_path):
    assert ranks(**roots.ascend(tmp_path / "a3", 16, "Ascend910")).startswith(f"{TORCHRUN} 16 --nnodes 1 ")
    assert ranks(**roots.nvidia(tmp_path / "one", 1)) == TRAIN
    assert ranks(**roots.plain(tmp_path / "none")) == TRAIN


def test_several_hosts_are_told_their_place(tmp_path):
    env = roots.plain(tmp_path) | {"NODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "first"}
    expected = f"{TORCHRUN} 1 --nnodes 2 --node-rank 1 --master-addr first --master-port 29500"
    assert ranks(**env) == f"{expected} -m danlu train pretrain"
    assert "--master-port 7000 " in ranks(**env, MASTER_PORT="7000")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"NODES": "two"}, "NODES=two: how many hosts?"),
        ({"NODES": "0"}, "NODES=0: how many hosts?"),
        ({"NODE_RANK": ""}, "NODE_RANK=: of 2 hosts"),
        ({"NODE_RANK": "2"}, "from 0 to 1"),
        ({"NODE_RANK": "08"}, "NODE_RANK=08"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000: not a port"),
    ],
)
def test_a_place_that_is_none_is_refused(tmp_path, change, says):
    env = roots.plain(tmp_path) | {"NODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "first"}
    error = no("check_hosts", **(env | change))
    assert says in error and len(error.splitlines()) == 2


def test_one_host_needs_no_place(tmp_path):
    assert said(f"{ENGINE}check_hosts; ranks=(); choose_ranks 1; echo ${{#ranks[@]}}", NODES="1") == "0"


def test_on_host_asks_for_the_environments_parts_and_becomes_python(tmp_path):
    code = "KIND=cpu; need_environment() { echo \"needs $*\"; }; on_host 'base serve' -m x"
    assert said(ENGINE + code, DRY_RUN="1").split("\n") == ["needs base serve", ".venv/bin/python -m x"]


def test_cann_s_settings_are_read_where_nobody_has(tmp_path):
    env = roots.ascend(tmp_path, 1)
    assert ranks(**env) == TRAIN
    roots.files(tmp_path, "usr/local/Ascend/cann/set_env.sh")
    assert ranks(**env).startswith("bash -c ") and ranks(**env).endswith(f"/set_env.sh {TRAIN}")
    assert ranks(**env, ASCEND_HOME_PATH="/usr/local/Ascend/cann") == TRAIN
    code = "begin=(); after_cann begin; printf '%s|' \"${begin[@]:0:2}\""
    assert said(ENGINE + code) == "bash|-c|"


def test_vllm_makes_its_own_container():
    told = said(f"{ENGINE}KIND=cpu OPT[runtime]=docker; where base -m danlu vllm out/x", DRY_RUN="1")
    assert told == ".venv/bin/python -m danlu vllm out/x"


def test_visibility_joined_counted():
    assert said(f"{ENGINE}visibility cpu; joined 1 2 3; counted a b c") == "1,2,3\n0,1,2"
    assert said(f"{ENGINE}asked_devices npu 3,1 0 1 2 3").split() == ["1", "3"]


def test_every_file_of_a_list_is_seen_inside_a_container(tmp_path):
    (tmp_path / "a b").mkdir()
    for name in ("a b/x.jsonl", "y.jsonl"):
        (tmp_path / name).touch()
    files = f"{tmp_path}/a b/x.jsonl,{tmp_path}/y.jsonl,near.jsonl"
    code = f"words=(-m danlu train x 'data.train={files}'); elsewhere"
    told = said(f"source launch/container.sh; {code}", HF_HOME="", MODELSCOPE_CACHE="").splitlines()
    assert {f"{tmp_path}/a b/x.jsonl", f"{tmp_path}/y.jsonl"} <= set(told)
