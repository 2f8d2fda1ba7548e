#!/usr/bin/env bash
# Run the tests: first set up what is missing, then all that is quick.
# 运行测试：先装好缺少的环境，再运行全部快速测试。
#
#   bash run_all.sh test                           what every change must pass
#                                                  每次改动都应通过
#   bash run_all.sh test --all                     and the slow ones: minutes each
#                                                  外加耗时的测试
#   bash run_all.sh test tests/model -k rotary     some of them, in pytest's own words
#                                                  用 pytest 的参数挑选
#
#   --all              the slow tests too: training to quality, fresh clones, load
#                      包括耗时的测试：训练效果、全新克隆、压力
#   --mirror           install what is missing from mirrors inside China
#                      使用国内镜像安装缺少的内容
#   --offline          install only what lies here: see setup
#                      只用本地已有的安装包，见 setup
#   ...                goes to pytest
#                      交给 pytest
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  need_environment base test
  need_marks

  # Quick tests share the cores, one each; slow ones, and those somebody chose, have all of them.
  local status=0 slow=0 quick=(-m 'not slow')
  if ((${#WORDS[@]} == 0)); then
    export OMP_NUM_THREADS=1
    quick+=(--numprocesses "$(workers)")
  fi
  check "${quick[@]}" "${WORDS[@]}" || status=$?
  unset OMP_NUM_THREADS
  if [[ -n ${OPT[all]:-} && ($status == 0 || $status == 5) ]]; then
    check -m slow "${WORDS[@]}" || slow=$?
    # 5: none of the chosen tests is of this kind
    if ((slow != 5)); then status=$slow; fi
  fi
  return "$status"
}

# workers: how many tests run at a time.
workers() {
  local cores
  cores=$(getconf _NPROCESSORS_ONLN)
  echo $((cores < 4 ? cores : 4))
}

# check WORDS...: pytest of the trainer's environment, on this clone's source.
check() {
  local command=(.venv/bin/python -m pytest "$@")
  if [[ ${DRY_RUN:-0} == 1 ]]; then run "${command[@]}"; else attended "${command[@]}"; fi
}

# need_marks: the private environments which marks of the tests ask for.
need_marks() {
  local name
  for name in transformers4 vllm browser npu; do
    if grep -rqE --include='test_*.py' "^(pytestmark = |@)pytest\.mark\.$name\b" tests && ! ready ".venv-$name" "$name"; then
      if ! attended bash launch/setup.sh --with "$name" ${OPT[mirror]:+--mirror} ${OPT[offline]:+--offline}; then
        if ((STOPPED)); then exit "$STOPPED"; fi
        warn "$(t ".venv-$name could not be made; the tests marked $name will say so" "无法建立 .venv-$name；标记为 $name 的测试会报告")"
      fi
    fi
  done
}

main "$@"
