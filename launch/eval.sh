#!/usr/bin/env bash
# Measure finished weights on a text: the newest in out/, or those named.
# 用一份文本评测训练好的模型：out/ 中最新的，或指定的。
#
#   bash run_all.sh eval perplexity --data held.jsonl                      loss and bits per byte
#                                                                          损失与每字节比特数
#   bash run_all.sh eval --weight pretrain perplexity --data held.jsonl    of out/pretrain_512
#                                                                          指定权重
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
  local folder
  folder=$(weights "${OPT[weight]:-}")
  need_environment base
  become .venv/bin/python -m danlu eval "${WORDS[0]}" "$folder" "${WORDS[@]:1}"
}

main "$@"
