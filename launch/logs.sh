#!/usr/bin/env bash
# Show what a server, a training run or a container says: the one that spoke last, or the one named.
# 查看服务、训练或容器的日志：最近有输出的，或指定的。
#
#   bash run_all.sh logs                          the last lines of the newest log
#                                                 最新日志的末尾
#   bash run_all.sh logs --follow 8000            a server's by port or name, as it goes on
#                                                 按端口或名称持续查看服务日志
#   bash run_all.sh logs runs/pretrain_512        the newest run's there
#                                                 该目录下最新一次训练
#   bash run_all.sh logs --explain FILE           what known failures in it mean, and what to do
#                                                 解释其中已知的故障与对策
#
#   --follow           go on as it says more, until Ctrl-C
#                      持续输出，直到 Ctrl-C
#   --lines N          how many to begin with; 40 unless said
#                      先显示多少行，默认 40
#   --explain          explain it instead of showing it
#                      解释而不是显示
#   ...                whose
#                      谁的日志
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/running.sh
source launch/explain.sh

main() {
  local file='' container words=()
  options "${BASH_SOURCE[0]}" "$@"
  if ((${#WORDS[@]} > 1)); then die "$(t "one at a time" "一次只能看一个")" "bash run_all.sh logs ${WORDS[0]}"; fi
  words=(-n "${OPT[lines]:-40}")
  if [[ -n ${OPT[follow]:-} ]]; then words+=(-f); fi
  choose_engine
  container=$(container_called "${WORDS[0]:-}")
  if [[ -n $container && -z ${OPT[explain]:-} ]]; then
    become "$CONTAINERS" logs "${words[@]}" "$container"
    return
  elif [[ -n $container ]]; then
    mkdir -p out/logs
    file=out/logs/$container.log
    run "$CONTAINERS" logs "$container" >"$file" 2>&1
  else
    find_log "${WORDS[0]:-}"
  fi
  if [[ -n ${OPT[explain]:-} ]]; then explain_log; else become tail "${words[@]}" -- "$file"; fi
}

# explain_log: what the known failures in `file` mean.
explain_log() {
  if ! explain "$file"; then say "$(t "no known failure in $file" "$file 中没有已知故障")"; fi
}

# container_called WORD: the container of that name, if there is one.
container_called() {
  local name rest
  while read -r name rest; do
    if [[ $name == "$1" ]]; then printf '%s\n' "$name"; fi
  done < <(ask_engine ps --all --filter label=danlu=1 --filter "volume=$PWD" --format '{{.Names}} {{.Status}}')
}

# find_log WORD: the log a word means, in `file`; without one, the log that was written to last.
find_log() {
  local line port name log all=() path
  find_servers
  for line in "${SERVERS[@]}"; do
    IFS=$'\t' read -r port _ name _ log <<<"$line"
    if [[ -z $1 || $1 == "$port" || $1 == "$name" ]]; then all+=("$log"); fi
  done
  if [[ -f $1 ]]; then
    all+=("$1")
  else
    for path in "${1:-runs/*}" "runs/$1" "runs/starter/$1"; do
      # shellcheck disable=SC2206 # a pattern
      if [[ -n $1 || $path == 'runs/*' ]]; then all+=("$path"/log.txt "$path"/*/log.txt); fi
    done
    if [[ -z $1 ]]; then all=("${all[@]}" runs/*/log.txt runs/*/*/log.txt out/logs/*.log); fi
  fi
  for path in "${all[@]}"; do
    if [[ -f $path && (-z $file || $path -nt $file) ]]; then file=$path; fi
  done
  if [[ -z $file && ${DRY_RUN:-0} == 1 ]]; then
    file=out/logs/NAME.log # whichever there will be
  elif [[ -z $file ]]; then
    die "$(t "no log of '${1:-anything}' here" "没有「${1:-任何}」的日志")" "bash run_all.sh status"
  fi
}

main "$@"
