#!/usr/bin/env bash
# Danlu, from nothing to a model that answers: every STEP named, one after the other.
# 丹炉：从零到会回答的模型，按顺序执行给出的每个步骤。
#
#   bash run_all.sh [OPTIONS] STEP...
#
#   bash run_all.sh --use-moe serve                          on a fresh clone: sets up, trains, serves
#                                                            全新仓库：安装、训练、提供服务
#   bash run_all.sh test                                     the proof that all works here
#                                                            自检
#   bash run_all.sh train pretrain data.train=corpus.jsonl   one stage with its settings
#                                                            用自己的设置训练一个阶段
#
# A step makes what it needs and is not there, and does not make again what is newer than what it is made from.
# 步骤会自动补齐所缺；比来源更新的不再重做。
# Options go to every step that knows them; `bash run_all.sh STEP --help` tells a step's own.
# 选项交给认识它的每个步骤；「bash run_all.sh 步骤 --help」显示该步骤的帮助。
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source launch/lib.sh
source launch/steps.sh
source launch/detach.sh

# A preset is offered once all its steps are there.
declare -rA PRESETS=(
  [core]='setup data pretrain sft convert'
  [demo]='setup data pretrain sft tool_sft convert serve'
  [all]='setup doctor data tokenizer pretrain sft tool_sft convert eval test'
)

main() {
  read_words "$@"
  if detaches; then
    detach
  elif ((${#STEPS[@]} == 1)); then
    step 0
  else
    steps_in_turn
  fi
}

main "$@"
