#!/usr/bin/env bash
# Talk to finished weights: those named, the newest, or the starter's.
# 与训练好的模型对话：指定的、最新的，或入门模型。
#
#   bash run_all.sh chat                                  the newest weights
#                                                         最新的权重
#   bash run_all.sh chat --weight full_sft --use-moe      the newest out/full_sft_..._moe
#                                                         指定权重
#   bash run_all.sh chat --prompt 'What is steel?'        one answer
#                                                         回答一个问题
#
#   ...                       goes to danlu chat
#                             交给 danlu chat
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/weights.sh
source launch/engine.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  no_names
  weights
  engine base -m danlu chat "$FOLDER" ${OPT[device]:+--device "$(accelerator)"} "${WORDS[@]}"
}

main "$@"
