#!/usr/bin/env bash
# Talk to finished weights: the newest in out/, or those named.
# 与训练好的模型对话：out/ 中最新的，或指定的。
#
#   bash run_all.sh chat                                  the newest weights
#                                                         最新的权重
#   bash run_all.sh chat --weight full_sft --use-moe      out/full_sft_512_moe
#                                                         指定权重
#   bash run_all.sh chat --prompt 'What is steel?'        one answer
#                                                         回答一个问题
#
#   --weight NAME      a name in out/, or a folder
#                      out/ 中的名称，或一个目录
#   --hidden-size N    width of the model, as in its folder's name
#                      模型宽度，与目录名一致
#   --use-moe          the mixture of experts of that name
#                      该名称的 MoE 模型
#   ...                goes to danlu chat
#                      交给 danlu chat
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  local folder
  folder=$(weights "${OPT[weight]:-}")
  need_environment base
  become .venv/bin/python -m danlu chat "$folder" "${WORDS[@]}"
}

main "$@"
