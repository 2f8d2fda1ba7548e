#!/usr/bin/env bash
# Measure finished weights, the newest in out/ or those named, or a server.
# 评测训练好的模型（out/ 中最新的，或指定的），或一个服务。
#
#   bash run_all.sh eval perplexity --data held.jsonl                      loss and bits per byte
#                                                                          损失与每字节比特数
#   bash run_all.sh eval --weight pretrain perplexity --data held.jsonl    of out/pretrain_512
#                                                                          指定权重
#   bash run_all.sh eval tools                                             calls of tools, case by case
#                                                                          逐个用例看工具调用
#   bash run_all.sh eval tools --endpoint localhost:8000                   of whatever is served there
#                                                                          评测该地址上的服务
#
#   --weight NAME      a name in out/, or a folder
#                      out/ 中的名称，或一个目录
#   --hidden-size N    width of the model, as in its folder's name
#                      模型宽度，与目录名一致
#   --use-moe          the mixture of experts of that name
#                      该名称的 MoE 模型
#   ...                the task, then what danlu eval TASK wants
#                      任务名，然后是 danlu eval 该任务的参数
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  if ((${#WORDS[@]} == 0)); then die "$(t "measure what?" "评测什么？")" "bash run_all.sh eval perplexity --data FILE"; fi
  local folder model=()
  if [[ " ${WORDS[*]}" != *" --endpoint"* ]]; then
    folder=$(weights "${OPT[weight]:-}")
    model=("$folder")
  fi
  need_environment base
  become .venv/bin/python -m danlu eval "${WORDS[0]}" "${model[@]}" "${WORDS[@]:1}"
}

main "$@"
