#!/usr/bin/env bash
# Measure what this host reaches: the commands of all published figures.
# 测量本机性能：所有公布数字的命令。
#
#   bash run_all.sh bench                              how long one waits: for help, and for a first step
#                                                      启动时间：帮助信息与第一步训练
#   bash run_all.sh bench moe --json                   bench/moe.py, with its words
#                                                      bench/moe.py 及其参数
#   bash run_all.sh bench pretrain --peer minimind=DIR      beside a checkout of yours
#                                                      与你的另一份代码对比
#
#   ...                a measurement in bench/, and its words
#                      bench/ 中的测量名及其参数
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/engine.sh

main() {
  local name needs=base
  options "${BASH_SOURCE[0]}" "$@"
  name=${WORDS[0]:-startup}
  if ! grep -qxF -- "$name" < <(measurements); then
    die "$(t "there is no measurement '$name'" "没有测量「$name」")" "$(measurements | paste -s -d ' ' -)"
  fi
  case $name in
    convert) needs+=' convert' ;;
    serve) needs+=' serve convert' ;;
    memory) needs+=' convert' ;;
  esac
  engine "$needs" -m "bench.$name" "${WORDS[@]:1}"
}

# become COMMAND...: a measurement starts others, which end with it: it is attended, with all of its group.
become() { if [[ ${DRY_RUN:-0} == 1 ]]; then run "$@"; else attended "$@"; fi; }

# measurements: what can be measured, one a line: the modules of bench/ that are programs with words of their own.
measurements() {
  local file
  for file in bench/*.py; do
    if grep -q '^    python -m bench\.\|^python -m bench\.' "$file" && grep -q '"__main__"' "$file"; then
      file=${file##*/}
      printf '%s\n' "${file%.py}"
    fi
  done
}

main "$@"
