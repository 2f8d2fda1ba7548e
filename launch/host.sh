# shellcheck shell=bash
# What this host is: its system, its accelerator, its devices. Part of launch/lib.sh.
# HOST_ROOT stands before every path looked at, so that another host's files can be looked at too.

# system: linux, wsl, macos, or what uname calls it.
system() {
  case $(uname -s) in
    Darwin) echo macos ;;
    Linux) if [[ $(uname -r) == *[Mm]icrosoft* ]]; then echo wsl; else echo linux; fi ;;
    *) uname -s ;;
  esac
}

# device_nodes KIND: the device files of that kind on this host, one a line. (HOST_ROOT: another host's files.)
device_nodes() {
  case $1 in
    npu) compgen -G "${HOST_ROOT:-}/dev/davinci[0-9]*" ;;
    cuda)
      if [[ -e ${HOST_ROOT:-}/dev/dxg && -e ${HOST_ROOT:-}/usr/lib/wsl/lib/nvidia-smi ]]; then
        echo "${HOST_ROOT:-}/dev/dxg" # WSL has one node for all cards
      else
        compgen -G "${HOST_ROOT:-}/dev/nvidia[0-9]*"
      fi
      ;;
  esac
}

# accelerator: npu, cuda or cpu: what ACCELERATOR says, else what has device nodes.
accelerator() {
  local kind
  case ${ACCELERATOR:-} in
    ascend | npu) echo npu ;;
    cuda | cpu) echo "$ACCELERATOR" ;;
    '' | auto)
      for kind in npu cuda; do
        if device_nodes "$kind" >/dev/null; then
          echo "$kind"
          return
        fi
      done
      echo cpu
      ;;
    *) die "$(t "unknown device '$ACCELERATOR'" "未知设备「$ACCELERATOR」")" "--device ascend, cuda $(t or 或) cpu" ;;
  esac
}

# device_ids LIST: the numbers meant by '0-3,6', one a line.
device_ids() {
  local part first last
  for part in ${1//,/ }; do
    if [[ ! $part =~ ^[0-9]+(-[0-9]+)?$ ]]; then die "--devices $1: '$part'?" "--devices 0-3,6"; fi
    first=${part%-*} last=${part#*-}
    while ((first <= last)); do printf '%s\n' "$((first++))"; done
  done
}
