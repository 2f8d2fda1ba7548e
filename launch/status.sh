#!/usr/bin/env bash
# Tell what runs here: servers, training, containers; and what is set up.
# 查看正在运行的服务、训练与容器，以及已装好的环境。
#
#   bash run_all.sh status                all of it
#                                         全部
#
#   --all              every training run there is, not the newest five
#                      列出所有训练，而非最近五个
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/running.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  find_running
  tell_servers
  tell_processes
  tell_runs
  tell_environments
}

# heading ENGLISH CHINESE: what comes next.
heading() { printf '%s\n' "$(t "$1" "$2")"; }

# tell_servers: those that were started here and not stopped.
tell_servers() {
  local line port name state log
  heading Servers 服务
  for line in "${SERVERS[@]}"; do
    IFS=$'\t' read -r port _ name state log <<<"$line"
    printf '  %-26s %-6s %s\n    %s\n' "$name" "$port" "$state" "$log"
  done
  if ((${#SERVERS[@]} == 0)); then printf '  %s\n' "$(t "none in the background" "后台没有服务")"; fi
}

# tell_processes: commands and containers that run.
tell_processes() {
  local line what id rest
  heading "Commands and containers" 命令与容器
  for line in "${THINGS[@]}"; do
    read -r what id rest <<<"$line"
    if [[ $what != server ]]; then printf '  %-9s %-8s %s\n' "$(t "$what" "${what/process/进程}")" "$id" "${rest:0:90}"; fi
  done
  if [[ " ${THINGS[*]}" != *" process "* && " ${THINGS[*]}" != *" container "* ]]; then printf '  %s\n' "$(t none 无)"; fi
}

# tell_runs: training runs with what they last measured.
tell_runs() {
  local run number=0
  heading "Training runs" 训练
  while IFS= read -r run; do
    if ((number++ >= 5)) && [[ -z ${OPT[all]:-} ]]; then
      printf '  %s\n' "$(t "older ones: --all" "更早的：--all")"
      break
    fi
    printf '  %-44s %s\n    %s\n' "$run" "$(state_of "$run")" "$(last_numbers "$run")"
  done < <(runs)
  if ((number == 0)); then printf '  %s\n' "$(t none 无)"; fi
}

# tell_environments: which there are, and what is ready in them.
tell_environments() {
  local folder file part parts any=0
  heading Environments 环境
  for folder in .venv .venv-*; do
    if [[ ! -d $folder ]]; then continue; fi
    parts='' any=1
    for file in "$folder"/ready-*; do
      if [[ ! -f $file ]]; then continue; fi
      part=${file##*/ready-}
      if ready "$folder" "$part"; then parts+=" $part"; else parts+=" $part ($(t "to be brought up to date" 待更新))"; fi
    done
    printf '  %-22s%s\n' "$folder" "${parts:- $(t "not whole" 未装完)}"
  done
  if ((! any)); then printf '  %s\n' "$(t "none yet: bash run_all.sh setup" "尚无：bash run_all.sh setup")"; fi
}

main "$@"
