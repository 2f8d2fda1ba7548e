# shellcheck shell=bash
# Where Python runs: in this clone's environment, or in a container of its image; on which devices, on how many hosts.
# A launcher that runs Python sources this after launch/lib.sh and ends in one of
#
#   engine 'base serve' -m danlu serve out/x-hf     one process; the first word: parts of the environment
#   engine_ranks base -m danlu train sft            one process a device, here and on every host of NODES
#
# Its options are those of every launcher that sources this:
#
#   --device KIND      ascend, cuda or cpu, whatever is found here
#                      指定 ascend、cuda 或 cpu，不自动检测
#   --devices LIST     some of its devices: 0-3 or 0,2
#                      选用部分设备：0-3 或 0,2
#   --runtime WORD     host or docker: this clone's environment, or a container
#                      host 或 docker：本仓库的环境，或容器
#   --force-build      build the container's image again, though it is there
#                      重新构建容器镜像，即使已有
#   --offline          use no network
#                      不使用网络
#   --mirror           download from mirrors inside China
#                      使用国内镜像
#
# Several hosts: the same command on each, with NODES, NODE_RANK and MASTER_ADDR (MASTER_PORT) in its environment.

source launch/devices.sh
source launch/container.sh
source launch/explain.sh

# engine PARTS WORDS...: Python with these words, as one process, in an environment with these parts.
engine() {
  choose_devices
  where "$@"
}

# engine_ranks PARTS WORDS...: the same as one process a device, here and on every host of NODES.
engine_ranks() {
  local ranks=()
  choose_devices
  choose_ranks "$((${#CHOSEN[@]} > 0 ? ${#CHOSEN[@]} : 1))"
  where "$1" "${ranks[@]}" "${@:2}"
}

# choose_ranks PROCESSES: torch's launcher of that many processes here, as words in `ranks`; none for one alone.
choose_ranks() {
  local nodes=${NODES:-1}
  check_hosts
  if (($1 * nodes == 1)); then return; fi
  ranks=(-m torch.distributed.run --nproc-per-node "$1" --nnodes "$nodes")
  if ((nodes > 1)); then
    ranks+=(--node-rank "$NODE_RANK" --master-addr "$MASTER_ADDR" --master-port "${MASTER_PORT:-29500}")
  else
    ranks+=(--standalone)
  fi
}

# check_hosts: refuse a place among several hosts that is none.
check_hosts() {
  local example
  example="NODES=2 NODE_RANK=0 MASTER_ADDR=$(t FIRST-HOST 第一台主机) bash run_all.sh train ..."
  if [[ ! ${NODES:-1} =~ ^[1-9][0-9]{0,4}$ ]]; then
    die "NODES=$NODES: $(t "how many hosts?" "多少台主机？")" "$example"
  fi
  if ((${NODES:-1} == 1)); then return; fi
  if [[ ! ${NODE_RANK:-} =~ ^(0|[1-9][0-9]{0,4})$ ]] || ((NODE_RANK >= NODES)); then
    die "NODE_RANK=${NODE_RANK:-}: $(t "of $NODES hosts, each has its own, from 0 to $((NODES - 1))" \
      "共 $NODES 台主机，每台各有一个编号，从 0 到 $((NODES - 1))")" "$example"
  fi
  if [[ -z ${MASTER_ADDR:-} ]]; then
    die "$(t "MASTER_ADDR is not set: where is the first host?" "没有设置 MASTER_ADDR：第一台主机的地址？")" "$example"
  fi
  if [[ ! ${MASTER_PORT:-29500} =~ ^[1-9][0-9]{0,4}$ ]] || ((${MASTER_PORT:-29500} > 65535)); then
    die "MASTER_PORT=$MASTER_PORT: $(t "not a port" "不是端口")" "MASTER_PORT=29500"
  fi
}

# where PARTS WORDS...: run them where OPT[runtime] says; `danlu vllm` makes a container of its own.
where() {
  local runtime=${OPT[runtime]:-host}
  if [[ -n ${OPT[offline]:-} ]]; then export HF_HUB_OFFLINE=1; fi
  if [[ "${*:2:3}" == '-m danlu vllm' ]]; then runtime=host; fi
  if [[ -n ${OPT[force_build]:-} && $runtime == host ]]; then
    warn "--force-build: $(t "nothing runs in an image of this clone" "没有用到本仓库的镜像")" "--runtime docker"
  fi
  if [[ $runtime == docker ]]; then in_container "$@"; else on_host "$@"; fi
}

# on_host PARTS WORDS...: Python of this clone's environment, or DANLU_PYTHON; on Ascend after CANN's settings, where nobody has read them.
on_host() {
  local parts=() begin=() toolkit python=${DANLU_PYTHON:-.venv/bin/python}
  read -ra parts <<<"$1"
  need_environment "${parts[@]}"
  if [[ $KIND == npu && -z ${ASCEND_HOME_PATH:-} ]]; then
    read -ra toolkit <<<"$(matrix container_npu toolkit)"
    if first_there "${toolkit[@]}" >/dev/null; then after_cann begin; fi
  fi
  if ((LIMITED)); then begin+=(env "$(visibility "$KIND")=$(joined "${CHOSEN[@]}")"); fi
  if [[ $KIND == cpu || ${DRY_RUN:-0} == 1 ]]; then
    become "${begin[@]}" "$python" "${@:2}"
  else
    explained "${begin[@]}" "$python" "${@:2}"
  fi
}
