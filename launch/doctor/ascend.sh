# shellcheck shell=bash disable=SC2034,SC2004
# Ascend: what npu-smi says, the driver and its firmware, CANN, and whether these and the images go together.

CHIP='' GENERATION='' DRIVER='' DRIVER_HOME='' CANN='' CANN_HOME=''
declare -A SLOT=()

# look_npu: the cards, then the software from the bottom up.
look_npu() {
  look_nodes
  look_npu_smi
  look_driver
  if [[ -n $DRIVER ]]; then look_firmware; fi
  look_cann
  if ((${#NODES[@]} > 0)); then visible ASCEND_RT_VISIBLE_DEVICES; fi
}

# look_npu_smi: where it is, what it says, and of what chip.
look_npu_smi() {
  local path
  path=$(command_of npu-smi) || path=''
  path=${path#"$ROOT"}
  if [[ -z $path ]]; then
    problem npu-smi-missing "there is no npu-smi in /usr/local/bin or /usr/local/sbin" "/usr/local/bin、/usr/local/sbin 中都没有 npu-smi" \
      "install the driver; inside a container, mount npu-smi from where the host has it" \
      "安装驱动；容器内请从宿主机挂载 npu-smi"
    return
  fi
  if ! ended smi || [[ $TOLD != *'| NPU '* ]]; then
    npu_smi_failed "$TOLD"
    return
  fi
  if [[ :$PATH: == *":${path%/*}:"* ]]; then
    ok npu-smi "$path" "$path"
  else
    note npu-smi-path "$path is not on the PATH: danlu cannot ask of which chip the cards are" "$path 不在 PATH 中：danlu 无法查询芯片型号" \
      "export PATH=\$PATH:${path%/*}" "export PATH=\$PATH:${path%/*}"
  fi
  read_npu_smi "$TOLD"
  look_chip
  hold_by_files
  look_cards
}

# npu_smi_failed WORDS: what npu-smi's last words mean.
npu_smi_failed() {
  local words=${1##*$'\n'}
  case $1 in
    *-8005* | *-8020* | *"device is used"*)
      problem npu-smi-held "npu-smi: $words: the devices belong to another container, or only root may ask" \
        "npu-smi：$words：设备被其他容器占用，或只有 root 可查询" \
        "on the host: docker ps, and stop the privileged container that holds them" "在宿主机上 docker ps，停掉占用设备的特权容器"
      ;;
    *"cannot open shared object"*)
      problem npu-smi-libraries "npu-smi finds no driver libraries: $words" "npu-smi 找不到驱动库：$words" \
        "export LD_LIBRARY_PATH=/usr/local/Ascend/driver/lib64:/usr/local/Ascend/driver/lib64/driver:/usr/local/Ascend/driver/lib64/common; in a container, mount /usr/local/Ascend/driver" \
        "export LD_LIBRARY_PATH=/usr/local/Ascend/driver/lib64:/usr/local/Ascend/driver/lib64/driver:/usr/local/Ascend/driver/lib64/common；容器内请挂载 /usr/local/Ascend/driver"
      ;;
    *)
      problem npu-smi-fails "npu-smi info fails: ${words:-no word in time}" "npu-smi info 失败：${words:-没有及时输出}" \
        "see dmesg for the driver; install it again or restart the host" "用 dmesg 查看驱动；重装驱动或重启主机"
      ;;
  esac
}

# read_npu_smi TEXT: fill CARDS and what belongs to each. Two lines a chip; on 310P and A3 the second names the device
# file's number after the chip's, else the number of the NPU is that. Widths differ between versions.
read_npu_smi() {
  local line npu='' name health card numbers=()
  local first='^\| *([0-9]+) +([A-Za-z]*[0-9]{3}[A-Za-z0-9_-]*) *\| *([A-Za-z]+) *\|'
  local second='^\| *([0-9]+)( +([0-9]+))? *\| *[0-9A-Fa-f]+:[0-9A-Fa-f:.]+ *\|.* ([0-9]+) */ *([0-9]+) *\| *$'
  local process='^\| *([0-9]+) +([0-9]+) *\| *([0-9]+) *\|[^|]*\| *([0-9]+) *\|'
  while IFS= read -r line; do
    if [[ $line =~ $first ]]; then
      npu=${BASH_REMATCH[1]} name=${BASH_REMATCH[2]} health=${BASH_REMATCH[3]}
      CHIP=${CHIP:-$name}
    elif [[ $line =~ $second ]]; then
      card=${BASH_REMATCH[3]:-$npu}
      SLOT["$npu ${BASH_REMATCH[1]}"]=$card
      CARDS+=("$card") USED[$card]=${BASH_REMATCH[4]} MEMORY[$card]=${BASH_REMATCH[5]}
      if [[ $health != OK ]]; then ILL[$card]=$health; fi
    elif [[ $line =~ $process ]]; then
      numbers+=("${BASH_REMATCH[@]:1:4}")
    fi
  done <<<"$1"
  for ((card = 0; card < ${#numbers[@]}; card += 4)); do
    hold "${SLOT["${numbers[card]} ${numbers[card + 1]}"]:-${numbers[card]}}" "${numbers[card + 2]}" "${numbers[card + 3]}"
  done
}

# hold_by_files: processes that have a card's device file open, whatever npu-smi sees.
hold_by_files() {
  local pid path
  while read -r pid path; do
    if [[ -n $pid ]]; then hold "${path##*davinci}" "$pid"; fi
  done < <(open_by '/dev/davinci[0-9]+$' || printf '')
}

# generation NAME: the chip's generation, as configs/matrix.yaml tells them apart.
generation() {
  local key pattern
  while read -r key pattern; do
    if [[ $1 =~ $pattern ]]; then
      printf '%s\n' "$key"
      return
    fi
  done < <(matrix chip)
}

# look_chip: what it is, what it computes in, and what serves it.
look_chip() {
  local name numbers served=vLLM served_zh=vLLM
  GENERATION=$(generation "$CHIP")
  if [[ -z $GENERATION ]]; then
    note chip-unknown "nothing is known of chip '$CHIP'" "不认识芯片「$CHIP」" \
      "add it to the section chip of configs/matrix.yaml" "请加入 configs/matrix.yaml 的 chip 一节"
    return
  fi
  if [[ ! $CHIP =~ $(matrix vllm ascend_chips) ]]; then served="the built-in server" served_zh=内置服务器; fi
  name=$(matrix chip_name "$GENERATION") numbers=$(matrix chip_numbers "$GENERATION")
  ok chip "$CHIP: $name; $numbers; served by $served" "$CHIP：$name；$numbers；由$served_zh提供服务"
}

# look_driver: its version, its library, and whether npu-smi is of the same release.
look_driver() {
  local text
  DRIVER_HOME=$(value Driver_Install_Path_Param "$(file /etc/ascend_install.info)")
  DRIVER_HOME=${DRIVER_HOME:-/usr/local/Ascend}/driver
  text=$(file "$DRIVER_HOME/version.info")
  DRIVER=$(value Version "$text")
  if [[ -z $DRIVER ]]; then
    problem driver-missing "there is no $DRIVER_HOME/version.info: no Ascend driver" "没有 $DRIVER_HOME/version.info：未装昇腾驱动" \
      "install the driver and firmware of your card; inside a container, mount /usr/local/Ascend/driver" \
      "安装与卡匹配的驱动和固件；容器内请挂载 /usr/local/Ascend/driver"
    return
  fi
  if ! compgen -G "$ROOT$DRIVER_HOME/lib64/*/libascend_hal.so" >/dev/null && [[ ! -e $ROOT$DRIVER_HOME/lib64/libascend_hal.so ]]; then
    problem driver-library "libascend_hal.so is missing below $DRIVER_HOME/lib64" "$DRIVER_HOME/lib64 下缺少 libascend_hal.so" \
      "install the driver again; inside a container, mount $DRIVER_HOME/lib64" "重装驱动；容器内请挂载 $DRIVER_HOME/lib64"
  elif [[ $TOLD =~ Version:\ ([0-9][0-9A-Za-z.]*) && ${BASH_REMATCH[1]} != "$DRIVER" ]]; then
    note driver-two "npu-smi is ${BASH_REMATCH[1]} and the driver $DRIVER" "npu-smi 为 ${BASH_REMATCH[1]}，驱动为 $DRIVER" \
      "restart the host after an upgrade; inside a container, mount both from the host" "升级后请重启主机；容器内两者都要从宿主机挂载"
  else
    ok driver "Ascend driver $DRIVER" "昇腾驱动 $DRIVER"
  fi
}

# look_firmware: whether it is among those the driver says it goes with, such as [7.0.0,7.7.99].
look_firmware() {
  local firmware ranges least most
  firmware=$(value Version "$(file "${DRIVER_HOME%/driver}/firmware/version.info")")
  ranges=$(value compatible_version_fw "$(file "$DRIVER_HOME/version.info")")
  if [[ -z $firmware ]]; then return; fi # a container is given none
  while [[ $ranges =~ ^,?\[([0-9.]+),([0-9.]+)\](.*)$ ]]; do
    least=${BASH_REMATCH[1]} most=${BASH_REMATCH[2]} ranges=${BASH_REMATCH[3]}
    if ! older "$firmware" "$least" && ! older "$most" "${firmware%"${firmware#*.*.*.}"}"; then
      ok firmware "firmware $firmware" "固件 $firmware"
      return
    fi
  done
  if [[ -z ${most:-} ]]; then return; fi
  problem firmware-other "firmware $firmware does not go with driver $DRIVER, which wants up to $most" \
    "固件 $firmware 与驱动 $DRIVER 不匹配，驱动要求不高于 $most" \
    "install the firmware of the driver's release, then restart the host" "安装与驱动同版本的固件，然后重启主机"
}
