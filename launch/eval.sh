#!/usr/bin/env bash
# Measure finished weights (those named, the newest, or the starter's), or a server.
# 评测训练好的模型（指定的、最新的，或入门模型），或一个服务。
#
#   bash run_all.sh eval                                                   calls of tools, case by case
#                                                                          逐个用例看工具调用
#   bash run_all.sh eval perplexity --data held.jsonl                      loss and bits per byte
#                                                                          损失与每字节比特数
#   bash run_all.sh eval --weight pretrain perplexity --data held.jsonl    of the newest out/pretrain_...
#                                                                          指定权重
#   bash run_all.sh eval tools --endpoint localhost:8000                   of whatever is served there
#                                                                          评测该地址上的服务
#
#   ...                       the task, then what danlu eval TASK wants
#                             任务名，然后是 danlu eval 该任务的参数
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/weights.sh
source launch/engine.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  local model=()
  if [[ ${WORDS[0]:--} == -* ]]; then WORDS=(tools "${WORDS[@]}"); fi
  if [[ " ${WORDS[*]}" != *" --endpoint"* ]]; then
    weights
    model=("$FOLDER")
    if [[ -n ${OPT[device]:-} ]]; then model+=(--device "$(accelerator)"); fi
  fi
  engine base -m danlu eval "${WORDS[0]}" "${model[@]}" "${WORDS[@]:1}"
}

main "$@"
