# shellcheck shell=bash
# The doctor, for launchers: after launch/lib.sh,
#
#   source launch/doctor/parts.sh
#   examine system network      some of: system resources environment accelerator containers network
#   report_faults               what is not as it should be, with remedies, to standard error
#
# FOUND holds what was found; `found problem` is how many problems that are. Nothing is changed, and no Python runs.

source launch/doctor/look.sh
source launch/doctor/findings.sh
source launch/doctor/system.sh
source launch/doctor/resources.sh
source launch/doctor/environment.sh
source launch/doctor/cards.sh
source launch/doctor/ascend.sh
source launch/doctor/cann.sh
source launch/doctor/cuda.sh
source launch/doctor/containers.sh
source launch/doctor/network.sh

SYSTEM='' MACHINE='' KERNEL='' DISTRIBUTION='' KIND='' IN_MACHINE='' RUNTIME='' NEEDS_IMAGE='' CAPABILITIES=''

# examine PART...: look at these, in this order; what takes its time is begun first.
examine() {
  local part parts=" $* "
  know_host
  if [[ $parts == *' containers '* ]]; then begin_containers; fi
  if [[ $parts == *' accelerator '* ]]; then begin_cards; fi
  if [[ $parts == *' network '* ]]; then begin_network; fi
  for part in "$@"; do "look_$part"; done
}

# know_host: what decides which checks there are.
know_host() {
  MACHINE=$(uname -m)
  KERNEL=$(uname -r)
  SYSTEM=$(system)
  KIND=$(accelerator)
  if [[ $KIND == cpu && ${ACCELERATOR:-auto} == auto ]]; then look_in_machine; fi
  if [[ $KIND == npu ]]; then NEEDS_IMAGE=1; fi
  if [[ -n $(command_of docker) ]]; then RUNTIME=docker; elif [[ -n $(command_of podman) ]]; then RUNTIME=podman; fi
}

# look_in_machine: a card without a driver has no device files: an Ascend in the machine is meant to be used.
look_in_machine() {
  local device vendor='' chip='' key pci
  for device in "$ROOT"/sys/bus/pci/devices/*; do
    if [[ ! -r $device/vendor || ! -r $device/device ]]; then continue; fi
    read -r vendor <"$device/vendor"
    read -r chip <"$device/device"
    if [[ $vendor == 0x10de && $(file "${device#"$ROOT"}/class") == 0x03* ]]; then IN_MACHINE=NVIDIA; fi
    if [[ $vendor != 0x19e5 ]]; then continue; fi
    while read -r key pci; do
      if [[ $pci == "$chip" ]]; then KIND=npu IN_MACHINE=$(matrix chip_name "$key"); fi
    done < <(matrix chip_pci)
    if [[ $KIND == npu ]]; then return; fi
  done
}

# begin_cards: ask the maker's tool.
begin_cards() {
  local about=index,pci.bus_id,name,compute_cap,driver_version,memory.used,memory.total
  case $KIND in
    npu) begin smi ask npu-smi info ;;
    cuda)
      begin smi ask nvidia-smi --query-gpu="$about" --format=csv,noheader,nounits
      begin apps ask nvidia-smi --query-compute-apps=gpu_bus_id,pid,used_memory --format=csv,noheader,nounits
      ;;
  esac
}

# look_accelerator: the cards, and what drives them.
look_accelerator() {
  case $KIND in
    npu) look_npu ;;
    cuda) look_cuda ;;
    cpu)
      if [[ $IN_MACHINE == NVIDIA && $SYSTEM != wsl ]]; then
        note card-unused "an NVIDIA card without a driver: everything runs on the processor" "有 NVIDIA 显卡但没有驱动：一切在处理器上运行" \
          "install NVIDIA's driver, $(matrix cuda driver) or newer, and restart" "安装 $(matrix cuda driver) 以上的 NVIDIA 驱动并重启"
      else
        ok device "no accelerator: everything runs on the processor" "没有加速卡：一切在处理器上运行"
      fi
      ;;
  esac
}
