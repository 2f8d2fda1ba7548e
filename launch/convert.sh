#!/usr/bin/env bash
# Export weights for transformers and vLLM, checked: those named, the newest, or the starter's.
# 导出权重给 transformers 与 vLLM 并校验：指定的、最新的，或入门模型。
#
#   bash run_all.sh convert                                 the newest weights, into out/NAME-hf, unless
#                                                           an export is there that is no older
#                                                           最新的权重，写入 out/名称-hf；已有且不旧
#                                                           的导出不再重做
#   bash run_all.sh convert --weight full_sft --use-moe     the newest out/full_sft_..._moe
#                                                           指定权重
#   bash run_all.sh convert from-hf DIR --out out/NAME      any other command of python -m convert
#                                                           python -m convert 的其他命令
#
#   ...                       goes to python -m convert to-hf, such as --dtype float32
#                             交给 python -m convert to-hf，例如 --dtype float32
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/weights.sh
source launch/engine.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  local words=("${WORDS[@]}")
  if [[ ${words[0]:--} == -* ]]; then
    need_named
    host_parts base convert
    weights
    if ((${#words[@]} == 0)) && is_exported "$FOLDER"; then
      say "$(t "exported already" "已导出过"): $FOLDER"
      return
    fi
    words=(to-hf "$FOLDER" --out "${FOLDER%/}-hf" "${words[@]}")
    would_make "${FOLDER%/}-hf"
  fi
  engine 'base convert' -m convert "${words[@]}"
}

main "$@"
