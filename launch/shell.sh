#!/usr/bin/env bash
# Open a shell, or run a command, where the engine runs: its environment, or a container.
# 进入引擎运行的环境（本仓库的环境或容器），打开 shell 或执行命令。
#
#   bash run_all.sh shell                         until exit
#                                                 直到 exit
#   bash run_all.sh shell danlu info              one command
#                                                 执行一条命令
#   bash run_all.sh shell --runtime docker        inside the container, devices and all
#                                                 在容器内，带设备
#
#   ...                       the command and its words
#                             命令及其参数
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/engine.sh

main() {
  local shown=()
  options "${BASH_SOURCE[0]}" "$@"
  if [[ ${OPT[runtime]:-host} != host ]]; then
    if ((${#WORDS[@]} == 0)); then WORDS=(bash); fi
    engine base -c 'import os, sys; os.execvp(sys.argv[1], sys.argv[1:])' "${WORDS[@]}"
    return
  fi
  if ((${#WORDS[@]} == 0)); then
    WORDS=("${SHELL:-bash}")
    say "$(t "exit leaves" "exit 退出")"
  fi
  need_environment base
  choose_devices
  if ((LIMITED)); then shown=("$(visibility "$KIND")=$(joined "${CHOSEN[@]}")"); fi
  become env "VIRTUAL_ENV=$PWD/.venv" "PATH=$PWD/.venv/bin:$PATH" "${shown[@]}" "${WORDS[@]}"
}

main "$@"
