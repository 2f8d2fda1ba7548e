# shellcheck shell=bash
# The cards of whatever maker: their device files, who holds them, how they are. Filled by ascend.sh or cuda.sh:
#
#   NODES          numbers of the device files, ascending
#   CARDS          numbers of the cards the maker's tool lists
#   USED, MEMORY   megabytes in use and in all, by card
#   ILL            what is wrong with a card, by card
#   HOLDERS        "PID name, MB" of each process on it, by card, one a line

NODES=() CARDS=()
declare -A USED=() MEMORY=() ILL=() HOLDERS=()

# hold CARD PID MEGABYTES: add a process to those that hold a card; each once.
hold() {
  local entry="PID $2 " known=${HOLDERS[$1]:-}
  if [[ $known == *"$entry"* ]]; then return; fi
  entry+=$(process "$2")
  if [[ -n ${3:-} ]]; then entry+=", $3 MB"; fi
  HOLDERS[$1]+=${known:+, }$entry
}

# look_nodes: which device files there are.
look_nodes() {
  local node numbers=''
  if [[ $KIND == cuda && -e $ROOT/dev/dxg ]]; then return; fi # WSL has one for all cards
  for node in $(device_nodes "$KIND"); do numbers+="${node##*[!0-9]}"$'\n'; done
  if [[ -z $numbers ]]; then
    problem devices-missing "there are no device files of ${IN_MACHINE:-$KIND}" "没有 ${IN_MACHINE:-$KIND} 的设备文件" \
      "install the driver and restart; inside a container, hand the devices in: docker run --device, --gpus" \
      "安装驱动并重启；容器内需传入设备：docker run --device、--gpus"
    return
  fi
  mapfile -t NODES < <(sort -n <<<"${numbers%$'\n'}")
  look_companions
  look_permission
}

# look_companions: the device files that every process needs beside its cards' own.
look_companions() {
  local name missing='' names=(davinci_manager devmm_svm hisi_hdc)
  if [[ $KIND == cuda ]]; then names=(nvidiactl nvidia-uvm); fi
  for name in "${names[@]}"; do
    if [[ ! -e $ROOT/dev/$name ]]; then missing+=" /dev/$name"; fi
  done
  if [[ -z $missing ]]; then
    ok devices "${#NODES[@]} card(s): ${NODES[*]}" "${#NODES[@]} 张卡：${NODES[*]}"
  else
    problem devices-incomplete "device files are missing:$missing" "缺少设备文件：$missing" \
      "on a host: sudo modprobe nvidia-uvm, or install the Ascend driver again; in a container: --device each" \
      "宿主机：sudo modprobe nvidia-uvm，或重装昇腾驱动；容器：逐个 --device 传入"
  fi
}

# look_permission: whether this user may open them: as owner, as member of their group, or as anybody.
look_permission() {
  local node=$ROOT/dev/davinci${NODES[0]} user groups mode owner group
  if [[ $KIND != npu ]] || ! user=$(ask id -u) || [[ $user == 0 ]]; then return; fi
  groups=" $(ask id -G) "
  read -r mode _ owner group _ < <(LC_ALL=C ls -ln "$node")
  if [[ $mode == ???????rw* || ($owner == "$user" && $mode == ?rw*) || ($groups == *" $group "* && $mode == ????rw*) ]]; then
    return
  fi
  problem devices-forbidden "/dev/davinci${NODES[0]} may not be opened by user $user (mode $mode)" \
    "用户 $user 无权打开 /dev/davinci${NODES[0]}（权限 $mode）" \
    "sudo usermod -aG HwHiAiUser \$USER, then log in again" "sudo usermod -aG HwHiAiUser \$USER，然后重新登录"
}

# look_cards: whether tool and files agree, whether the cards are well, and who holds them.
look_cards() {
  if ((${#NODES[@]} > 0 && ${#NODES[@]} != ${#CARDS[@]})); then
    problem devices-differ "${#NODES[@]} device file(s), and the driver's tool lists ${#CARDS[@]} card(s)" \
      "有 ${#NODES[@]} 个设备文件，驱动工具却列出 ${#CARDS[@]} 张卡" \
      "a card has dropped out (see dmesg), or the container was handed only some of what it needs" \
      "有卡掉线（看 dmesg），或容器只拿到部分设备"
  fi
  look_health
  look_holders
}

# look_health: what the maker's tool says of each card; a warning is often but a network port without a cable.
look_health() {
  local card ill='' warned=''
  for card in "${CARDS[@]}"; do
    case ${ILL[$card]:-} in
      '') ;;
      Warning) warned+="${warned:+; }$card" ;;
      *) ill+="${ill:+; }$card: ${ILL[$card]}" ;;
    esac
  done
  if [[ -n $warned ]]; then
    note card-warning "npu-smi warns of cards $warned" "npu-smi 对这些卡有告警：$warned" \
      "npu-smi info -t health -i NUMBER says why" "用 npu-smi info -t health -i 编号 查看原因"
  fi
  if [[ -n $ill ]]; then
    problem card-unwell "cards that are not well: $ill" "状态异常的卡：$ill" \
      "choose others with --devices; a restart of the host often cures" "用 --devices 选其他卡；重启主机常可恢复"
  fi
}

# look_holders: cards in use, by processes seen here, or by nobody seen here: another container's, or a display.
look_holders() {
  local card held='' unseen='' busy=0
  for card in "${CARDS[@]}"; do
    if [[ -n ${HOLDERS[$card]:-} ]]; then
      held+="${held:+; }$card: ${HOLDERS[$card]}"
      busy=$((busy + 1))
    elif ((${USED[$card]:-0} * 5 > ${MEMORY[$card]:-1})); then
      unseen+="${unseen:+; }$card: ${USED[$card]} / ${MEMORY[$card]} MB"
    fi
  done
  if [[ -n $unseen ]]; then
    note cards-memory "memory in use by nobody seen here: $unseen" "显存被占用，但看不到占用者：$unseen" \
      "look in other containers: docker ps; or choose other cards: --devices" "查看其他容器：docker ps；或用 --devices 选其他卡"
  fi
  if ((busy > 0 && busy == ${#CARDS[@]})); then
    problem cards-all-held "every card is in use: $held" "所有的卡都在使用：$held" \
      "end what uses them (kill PID, docker stop), or wait" "结束占用者（kill PID、docker stop），或等待"
  elif [[ -n $held ]]; then
    note cards-held "in use: $held" "正被占用：$held" "choose others: --devices $(unheld)" "选其他卡：--devices $(unheld)"
  elif [[ -z $unseen ]]; then
    ok cards "no card is in use" "没有卡被占用"
  fi
}

# unheld: the numbers of the cards that nobody uses, with commas.
unheld() {
  local card IFS=, here=()
  for card in "${CARDS[@]}"; do
    if [[ -z ${HOLDERS[$card]:-} ]] && ((${USED[$card]:-0} * 5 <= ${MEMORY[$card]:-1})); then here+=("$card"); fi
  done
  printf '%s\n' "${here[*]}"
}

# visible VARIABLE: whether what the user's variable leaves visible is there.
visible() {
  local card chosen=${!1-all} wrong=''
  if [[ $chosen == all || $chosen == *-* ]]; then return; fi # unset, or NVIDIA's long names
  if [[ -z $chosen ]]; then
    problem visible-none "$1 is set and empty: every card is hidden" "$1 设为空：所有的卡都被隐藏" "unset $1" "unset $1"
    return
  fi
  for card in ${chosen//,/ }; do
    if [[ " ${NODES[*]} " != *" $card "* ]]; then wrong+=" $card"; fi
  done
  if [[ -n $wrong ]]; then
    problem visible-wrong "$1=$chosen names cards that are not here:$wrong" "$1=$chosen 指定了不存在的卡：$wrong" \
      "export $1=${NODES[0]}" "export $1=${NODES[0]}"
  else
    ok visible "$1=$chosen" "$1=$chosen"
  fi
}
