#!/usr/bin/env bash
# Remove what can be made again, by name, after asking; alone it only tells what there is.
# 按名称删除可以重新生成的内容，删除前询问；不带名称时只列出。
#
#   bash run_all.sh clean                         what there is, and how large
#                                                 列出内容与大小
#   bash run_all.sh clean caches environments     these two
#                                                 删除这两类
#
#   caches             of tests, tools and containers; the data set that comes with the project
#                      测试、工具与容器的缓存，项目自带的数据集
#   environments       .venv and those beside it; setup makes them again
#                      .venv 等环境，可由 setup 重建
#   runs               checkpoints and metrics of all training runs
#                      所有训练的检查点与指标
#   outputs            all finished weights and exports
#                      所有训练好的权重与导出
#
#   --yes              do not ask
#                      不再询问
#   ...                the names
#                      名称
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/running.sh

NAMES=(caches environments runs outputs)

main() {
  local name all=() found=()
  options "${BASH_SOURCE[0]}" "$@"
  for name in "${WORDS[@]}"; do
    if [[ " ${NAMES[*]} " != *" $name "* ]]; then die "$(t "'$name' cannot be cleaned" "无法清理「$name」")" "${NAMES[*]}"; fi
    mapfile -t found < <(places "$name")
    all+=("${found[@]}")
  done
  if ((${#WORDS[@]} == 0)); then
    tell
  elif ((${#all[@]} == 0)); then
    say "$(t "nothing of that is here" "没有可清理的内容")"
  else
    need_rest
    if agreed "${all[@]}"; then remove "${all[@]}"; else say "$(t "kept" 已保留)"; fi
  fi
}

# places NAME: the files and folders of that name, one a line.
places() {
  local place
  case $1 in
    caches) set -- .pytest_cache .ruff_cache .mypy_cache .hypothesis .container build data/starter ;;
    environments) set -- .venv .venv-* ;;
    runs) set -- runs ;;
    outputs) set -- out ;;
  esac
  for place in "$@"; do
    if [[ -e $place ]]; then printf '%s\n' "$place"; fi
    compgen -G "$(dirname "$place")/.${place##*/}.removing-*" || continue # what was left of it
  done
  if [[ $1 == .pytest_cache ]]; then find src convert tests bench -name __pycache__ -type d -prune; fi
}

# remove PLACES...: first out of the way, so that whoever is stopped here leaves nothing half; then for good.
remove() {
  local place aside gone=()
  need_writable "$@"
  for place in "$@"; do
    aside=$(dirname "$place")/.${place##*/}.removing-$$
    run mv -- "$place" "$aside"
    gone+=("$aside")
  done
  run rm -rf -- "${gone[@]}"
}

# tell: what there is, by name.
tell() {
  local name found=()
  for name in "${NAMES[@]}"; do
    mapfile -t found < <(places "$name")
    if ((${#found[@]} == 0)); then continue; fi
    printf '%-14s %s\n' "$name" "$(du -ch -- "${found[@]}" | sed -n '$s/[[:space:]].*//p')"
  done
  say "$(t "nothing was removed; name what to remove" "没有删除任何内容；请指定名称")"
}

# need_rest: refuse while something of this clone runs.
need_rest() {
  find_running
  if ((${#THINGS[@]} > 0)); then
    die "$(t "something of this clone runs: ${THINGS[0]}" "本仓库仍有内容在运行：${THINGS[0]}")" "bash run_all.sh stop --all"
  fi
}

# agreed PLACES...: whether the user says yes to removing them.
agreed() {
  local answer=''
  du -sh -- "$@" >&2
  if [[ -n ${OPT[yes]:-} || ${DRY_RUN:-0} == 1 ]]; then return; fi
  if [[ ! -t 0 ]]; then die "$(t "nobody here to ask" "没有终端可以询问")" "--yes"; fi
  read -r -p "$(t "remove all of this? [y/N] " "全部删除？[y/N] ")" answer
  [[ $answer == [yY]* ]]
}

main "$@"
