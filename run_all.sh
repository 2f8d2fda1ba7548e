#!/usr/bin/env bash
# Danlu, from nothing to a model that answers: every STEP named, one after the other.
# 丹炉：从零到会回答的模型，按顺序执行给出的每个步骤。
#
#   bash run_all.sh [OPTIONS] STEP...
#
#   bash run_all.sh setup test                               a working clone, and the proof
#                                                            装好并自检
#   bash run_all.sh train pretrain data.train=corpus.jsonl   one stage with its settings
#                                                            用自己的设置训练一个阶段
#
# Options go to every step that knows them; `bash run_all.sh STEP --help` tells a step's own.
# 选项交给认识它的每个步骤；「bash run_all.sh 步骤 --help」显示该步骤的帮助。
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source launch/lib.sh
source launch/steps.sh

# A preset is offered once all its steps are there.
declare -rA PRESETS=(
  [core]='setup data pretrain sft convert'
  [demo]='setup data pretrain sft tool_sft convert serve'
  [all]='setup doctor data tokenizer pretrain sft tool_sft reason dpo grpo convert eval test'
)

main() {
  read_words "$@"
  if ((${#STEPS[@]} == 1)); then
    step 0
    return
  fi

  local i began status times=''
  for i in "${!STEPS[@]}"; do
    say "${STEPS[i]}"
    began=$SECONDS status=0
    step "$i" || status=$?
    if ((status > 0)); then
      warn "$(t "${STEPS[i]} ended with $status" "${STEPS[i]} 以 $status 结束")" \
        "$(t "mend it, then go on:" "修正后继续：") bash run_all.sh ${STEPS[*]:i}"
      exit "$status"
    fi
    times+=" ${STEPS[i]} $((SECONDS - began)) s;"
  done
  say "$(t "all done" 全部完成):${times%;}"
}

main "$@"
