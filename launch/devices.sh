# shellcheck shell=bash disable=SC2034
# Which devices of this host a launcher uses: those of --devices, else those its environment leaves it, else all;
# and what `docker run` is told of them. Part of launch/engine.sh. choose_devices fills
#
#   KIND      npu, cuda or cpu
#   CHOSEN    their numbers, ascending: /dev/davinci2 is 2
#   LIMITED   1 where a process must be told, for they were asked for
#
# The other half of this, for `danlu vllm`, is src/danlu/device/hosting.py: the same tables, the same words.

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
  elif [[ -n $variable && -n ${!variable+set} ]]; then # a scheduler's choice, or the user's: passed on as it is
    IFS=, read -ra CHOSEN <<<"${!variable}"
  else
    CHOSEN=("${here[@]}")
  fi
}

# asked_devices KIND LIST HERE...: the numbers LIST means, ascending, each once; refused where one is not among HERE.
asked_devices() {
  local number numbers have=${*:3}
  if [[ $1 == cpu ]]; then
    die "--devices $2: $(t "this host computes on its processor, which is one device" "本机用处理器计算，只有一个设备")" \
      "$(t "leave --devices away, or --device ascend or cuda" "去掉 --devices，或用 --device ascend、cuda")"
  fi
  numbers=$(device_ids "$2") || exit
  numbers=$(sort -nu <<<"$numbers")
  for number in $numbers; do
    if [[ " ${*:3} " != *" $number "* ]]; then
      die "--devices $2: $(t "there is no $1 device $number" "没有 $1 设备 $number")" \
        "$(t "this host has" "本机有") ${have:-$(t none 无)}"
    fi
  done
  printf '%s\n' "$numbers"
}

# joined WORDS...: the words with a comma between them.
joined() {
  local IFS=,
  printf '%s\n' "$*"
}

# first_there PATHS...: the first of these paths that the host has; fails if there is none.
first_there() {
  local path
  for path in "$@"; do
    if [[ -e ${HOST_ROOT:-}$path ]]; then
      echo "$path"
      return
    fi
  done
  return 1
}

# counted WORDS...: 0,1,... for as many words: how a container numbers the devices it was handed.
counted() { seq -s , 0 $(($# - 1)); }

# give_npu NUMBERS...: in `given`, what hands a container these chips: Ascend's own runtime, else device files and driver.
give_npu() {
  local number
  if first_there "$(matrix container_npu runtime)" >/dev/null && [[ $CONTAINERS_ARE == docker ]]; then
    given+=(--runtime ascend)
  else
    for number in "$@"; do given+=(--device "/dev/davinci$number"); done
    give_driver
  fi
  given+=(--env "ASCEND_VISIBLE_DEVICES=$(joined "$@")" --env "$(visibility npu)=$(counted "$@")")
}

# give_driver: in `given`, the Ascend driver's device files and its parts, as far as they are there.
give_driver() {
  local part root=/usr/local/Ascend place
  for part in $(matrix container_npu nodes); do
    if first_there "$part" >/dev/null; then given+=(--device "$part"); fi
  done
  place=$(installed_at)
  for part in $(matrix container_npu driver); do
    if first_there "$place/driver/$part" >/dev/null; then
      given+=(--volume "$place/driver/$part:$root/driver/$part:ro")
    fi
  done
  for part in $(matrix container_npu files); do
    if first_there "$part" >/dev/null; then given+=(--volume "$part:$part:ro"); fi
  done
}

# installed_at: the folder the Ascend driver was installed in, as its installer wrote it down.
installed_at() {
  local line file
  file=${HOST_ROOT:-}$(matrix container_npu install)
  if [[ -r $file ]]; then
    while IFS= read -r line; do
      if [[ $line == Driver_Install_Path_Param=/* ]]; then
        echo "${line#*=}"
        return
      fi
    done <"$file"
  fi
  echo /usr/local/Ascend
}

# give_cuda NUMBERS...: in `given`, what hands a container these cards: NVIDIA's toolkit, or CDI. WSL hands over all.
give_cuda() {
  local number own toolkit cdi
  own=$(counted "$@")
  if [[ $(device_nodes cuda) == */dxg ]]; then
    own=$(joined "$@")
    set -- all
  fi
  read -ra toolkit <<<"$(matrix container_cuda toolkit)"
  read -ra cdi <<<"$(matrix container_cuda cdi)"
  if [[ $CONTAINERS_ARE == podman ]] || { ! first_there "${toolkit[@]}" && first_there "${cdi[@]}"; } >/dev/null; then
    for number in "$@"; do given+=(--device "nvidia.com/gpu=$number"); done
    given+=(--env NVIDIA_VISIBLE_DEVICES=void) # or a runtime that reads it would hand over more
  else
    if [[ $1 == all ]]; then given+=(--gpus all); else given+=(--gpus "\"device=$(joined "$@")\""); fi
    given+=(--env "NVIDIA_VISIBLE_DEVICES=$(joined "$@")")
  fi
  given+=(--env "$(visibility cuda)=$own")
}
