#!/usr/bin/env bash
# Export finished weights for transformers and vLLM, checked: the newest in out/, or those named.
# 把训练好的模型导出给 transformers 与 vLLM 并校验：out/ 中最新的，或指定的。
#
#   bash run_all.sh convert                                 the newest weights, into out/NAME-hf
#                                                           最新的权重，写入 out/名称-hf
#   bash run_all.sh convert --weight full_sft --use-moe     out/full_sft_512_moe
#                                                           指定权重
#   bash run_all.sh convert from-hf DIR --out out/NAME      any other command of python -m convert
#                                                           python -m convert 的其他命令
#
#   --weight NAME      a name in out/, or a folder
#                      out/ 中的名称，或一个目录
#   --hidden-size N    width of the model, as in its folder's name
#                      模型宽度，与目录名一致
#   --use-moe          the mixture of experts of that name
#                      该名称的 MoE 模型
#   ...                goes to python -m convert to-hf, such as --dtype float32
#                      交给 python -m convert to-hf，例如 --dtype float32
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  local folder words=("${WORDS[@]}")
  if [[ ${words[0]:--} == -* ]]; then
    folder=$(weights "${OPT[weight]:-}")
    words=(to-hf "$folder" --out "${folder%/}-hf" "${words[@]}")
  fi
  need_environment base convert
  become .venv/bin/python -m convert "${words[@]}"
}

main "$@"
