# shellcheck shell=bash disable=SC2034
# Which devices of this host a launcher uses: those of --devices, else those its environment leaves it, else all.
# Part of launch/engine.sh. choose_devices fills
#
#   KIND      npu, cuda or cpu
#   CHOSEN    their numbers, ascending: /dev/davinci2 is 2
#   LIMITED   1 where they are fewer than there are, so that a process must be told

KIND='' CHOSEN=() LIMITED=0

# visibility KIND: the variable by which a process is told which devices it may use.
visibility() {
  case $1 in
    npu) echo ASCEND_RT_VISIBLE_DEVICES ;;
    cuda) echo CUDA_VISIBLE_DEVICES ;;
  esac
}

# device_numbers KIND: the numbers of the devices here, ascending, one a line. WSL has one node for all cards.
device_numbers() {
  local node smi=${HOST_ROOT:-}/usr/lib/wsl/lib/nvidia-smi
  for node in $(device_nodes "$1"); do
    if [[ $node == */dxg ]]; then
      "$smi" --query-gpu=index --format=csv,noheader 2>/dev/null || echo 0
    else
      echo "${node##*[!0-9]}"
    fi
  done | sort -n
}

# choose_devices: fill KIND, CHOSEN and LIMITED; refuse devices that are not there.
choose_devices() {
  local here=() listed variable
  KIND=$(accelerator) CHOSEN=() LIMITED=0
  mapfile -t here < <(device_numbers "$KIND")
  variable=$(visibility "$KIND")
  if [[ -n ${OPT[devices]:-} ]]; then
    listed=$(asked_devices "$KIND" "${OPT[devices]}" "${here[@]}")
    mapfile -t CHOSEN <<<"$listed"
    LIMITED=1
  elif [[ -n $variable && -n ${!variable:-} ]]; then # a scheduler's choice, or the user's: passed on as it is
    IFS=, read -ra CHOSEN <<<"${!variable}"
  else
    CHOSEN=("${here[@]}")
  fi
}

# asked_devices KIND LIST HERE...: the numbers LIST means, ascending, each once; refused where one is not among HERE.
asked_devices() {
  local number numbers
  if [[ $1 == cpu ]]; then
    die "--devices $2: $(t "this host computes on its processor, which is one device" "本机用处理器计算，只有一个设备")" \
      "$(t "leave --devices away, or --device ascend or cuda" "去掉 --devices，或用 --device ascend、cuda")"
  fi
  numbers=$(device_ids "$2") || exit
  numbers=$(sort -nu <<<"$numbers")
  for number in $numbers; do
    if [[ " ${*:3} " != *" $number "* ]]; then
      die "--devices $2: $(t "there is no $1 device $number" "没有 $1 设备 $number")" \
        "$(t "this host has" "本机有") ${*:3}"
    fi
  done
  printf '%s\n' "$numbers"
}

# joined WORDS...: the words with a comma between them.
joined() {
  local IFS=,
  printf '%s\n' "$*"
}
