#!/usr/bin/env bash
# End what runs here: a server, a training (which saves first), a container.
# 停止正在运行的服务、训练（先保存）或容器。
#
#   bash run_all.sh stop                  the only thing that runs here
#                                         唯一正在运行的一个
#   bash run_all.sh stop 8000             by port, process number, or name: those that status tells
#                                         按端口、进程号或名称，见 status
#   bash run_all.sh stop --all            everything of this clone
#                                         本仓库的全部
#
#   --all              everything
#                      全部
#   ...                what to stop
#                      停止什么
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/running.sh

PATIENCE=60 # seconds that something has to save and to leave

main() {
  local word chosen=()
  options "${BASH_SOURCE[0]}" "$@"
  find_running
  if [[ -n ${OPT[all]:-} ]]; then
    chosen=("${THINGS[@]}")
  elif ((${#WORDS[@]} > 0)); then
    for word in "${WORDS[@]}"; do choose "$word"; done
  elif ((${#THINGS[@]} > 1)); then
    die "$(t "which of them?" "停止哪一个？")"$'\n'"$(printf '    %s\n' "${THINGS[@]}")" "bash run_all.sh stop NAME; --all"
  else
    chosen=("${THINGS[@]}")
  fi
  if ((${#chosen[@]} == 0)); then say "$(t "nothing runs here" "没有正在运行的内容")"; fi
  for word in "${chosen[@]}"; do end "$word"; done
}

# choose WORD: add what is meant to `chosen`.
choose() {
  local thing what id rest number=${#chosen[@]}
  for thing in "${THINGS[@]}"; do
    read -r what id rest <<<"$thing"
    if [[ $1 == "$id" || $1 == "$rest" || ($what == process && " $rest " == *" $1 "*) ]]; then chosen+=("$thing"); fi
  done
  if ((${#chosen[@]} == number)); then
    die "$(t "nothing here is called '$1'" "没有名为「$1」的内容")" "bash run_all.sh status"
  fi
}

# end THING: end it, and wait until it has ended.
end() {
  local what id rest
  read -r what id rest <<<"$1"
  say "$(t stopping 停止) $what $id ${rest:0:60}"
  case $what in
    server) run .venv/bin/python -m danlu vllm stop "$id" ;;
    container) run "$CONTAINERS" stop --time "$PATIENCE" "$id" ;;
    process) end_process "$id" ;;
  esac
}

# end_process PID: as Ctrl-C would, so that it saves; after a minute for good.
end_process() {
  local began=$SECONDS
  run kill -s INT "$1"
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  while lives "$1"; do
    if ((SECONDS - began > PATIENCE)); then
      warn "$(t "$1 does not end by itself; it is killed" "$1 未自行结束，强制停止")"
      kill_tree "$1"
      return
    fi
    sleep 0.2
  done
}

# lives PID: whether that process still does something: one that nobody has buried has no words any more.
lives() {
  if [[ -r /proc/$1/cmdline ]]; then grep -q . "/proc/$1/cmdline"; else kill -s 0 "$1" 2>/dev/null; fi
}

main "$@"
