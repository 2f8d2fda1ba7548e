# shellcheck shell=bash disable=SC2034,SC2004
# NVIDIA: what nvidia-smi says of driver and cards, and whether torch's build has kernels for them.

# look_cuda: device files, then what nvidia-smi says.
look_cuda() {
  local path
  look_nodes
  path=$(command_of nvidia-smi) || path=''
  if [[ -z $path ]]; then
    problem nvidia-smi-missing "there is no nvidia-smi" "没有 nvidia-smi" \
      "install NVIDIA's driver, in WSL in Windows; in a container: docker run --gpus all" \
      "安装 NVIDIA 驱动（WSL 装在 Windows 里）；容器：docker run --gpus all"
    return
  fi
  if ! ended smi || [[ ! $TOLD =~ ^[0-9]+,\  ]]; then
    nvidia_smi_failed "$TOLD"
    return
  fi
  ok nvidia-smi "${path#"$ROOT"}" "${path#"$ROOT"}"
  read_nvidia_smi "$TOLD"
  look_cuda_driver
  look_capability
  look_fabric
  look_cards
  visible CUDA_VISIBLE_DEVICES
}

# nvidia_smi_failed WORDS: what nvidia-smi's last words mean.
nvidia_smi_failed() {
  local words=${1%%$'\n'*}
  case $1 in
    *"version mismatch"*)
      problem nvidia-two-versions "nvidia-smi: $words" "nvidia-smi：$words" \
        "the driver was upgraded while in use: restart the host" "驱动在使用中被升级：请重启主机"
      ;;
    *"not a valid field"*)
      problem driver-old "the NVIDIA driver is many years old" "NVIDIA 驱动过于陈旧" \
        "install driver $(matrix cuda driver) or newer" "安装 $(matrix cuda driver) 以上的驱动"
      ;;
    *)
      problem nvidia-smi-fails "nvidia-smi fails: ${words:-no word in time}" "nvidia-smi 失败：${words:-没有及时输出}" \
        "see dmesg; load the driver (sudo modprobe nvidia), install it again, or restart the host" \
        "查看 dmesg；加载驱动（sudo modprobe nvidia）、重装驱动或重启主机"
      ;;
  esac
}

# read_nvidia_smi TEXT: fill CARDS and what belongs to each, then who holds them.
read_nvidia_smi() {
  local index bus name capability driver used all pid
  local -A at=()
  while IFS=, read -r index bus name capability driver used all; do
    CARDS+=("$index") at["${bus// /}"]=$index
    DRIVER=${driver// /} CHIP=${CHIP:-${name# }}
    CAPABILITIES+="${capability// /} "
    if [[ $used$all =~ ^\ *[0-9]+\ *[0-9]+$ ]]; then
      USED[$index]=${used// /} MEMORY[$index]=${all// /}
    elif [[ $used$all == *[Ee]rr* ]]; then
      ILL[$index]=${used# }
    fi
  done <<<"$1"
  if [[ -e $ROOT/dev/dxg ]]; then NODES=("${CARDS[@]}"); fi
  if ! ended apps; then return; fi
  while IFS=, read -r bus pid used; do
    if [[ $pid =~ ^\ [0-9]+$ ]]; then hold "${at["${bus// /}"]:-?}" "${pid// /}" "${used//[!0-9]/}"; fi
  done <<<"$TOLD"
}

# look_cuda_driver: whether it carries the CUDA torch is built for.
look_cuda_driver() {
  local least
  least=$(matrix cuda driver)
  if older "$DRIVER" "$least"; then
    problem driver-old "NVIDIA driver $DRIVER; torch $(matrix torch cuda) is built for CUDA $(matrix cuda toolkit), which needs $least" \
      "NVIDIA 驱动 $DRIVER；torch $(matrix torch cuda) 使用 CUDA $(matrix cuda toolkit)，需要 $least 以上" \
      "install driver $least or newer, in WSL in Windows" "安装 $least 以上的驱动（WSL 装在 Windows 里）"
  else
    ok driver "NVIDIA driver $DRIVER" "NVIDIA 驱动 $DRIVER"
  fi
}

# look_capability: whether torch's build has kernels for every card.
look_capability() {
  local least capability old='' numbers="bfloat16 float16 float32"
  least=$(matrix cuda capability)
  for capability in $CAPABILITIES; do
    if older "$capability" "$least"; then old=$capability; fi
    if older "$capability" 8.0; then numbers="float16 float32"; fi
  done
  if [[ -n $old ]]; then
    problem card-old "a card of capability $old: torch $(matrix torch cuda) has kernels from $least" \
      "有算力 $old 的卡：torch $(matrix torch cuda) 只支持 $least 以上" \
      "choose newer cards with --devices, or --device cpu" "用 --devices 选较新的卡，或 --device cpu"
  else
    ok chip "$CHIP: capability ${CAPABILITIES%% *}; $numbers" "$CHIP：算力 ${CAPABILITIES%% *}；$numbers"
  fi
}

# look_fabric: cards behind an NVSwitch answer 802 until their fabric manager runs; a container cannot see it run.
look_fabric() {
  if ! compgen -G "$ROOT/dev/nvidia-nvswitch*" >/dev/null; then return; fi
  if grep -qs '^nv-fabricmanage' "$ROOT"/proc/[0-9]*/comm; then return; fi
  note fabric-manager "an NVSwitch, and no nv-fabricmanager to be seen: CUDA answers error 802" \
    "有 NVSwitch，却没看到 nv-fabricmanager：CUDA 会报 802 错误" \
    "sudo systemctl start nvidia-fabricmanager, of the driver's exact version" "sudo systemctl start nvidia-fabricmanager（版本须与驱动完全一致）"
}
