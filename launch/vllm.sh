#!/usr/bin/env bash
# Serve finished weights with vLLM, or, where vLLM cannot, with the built-in server: the newest, or those named.
# 用 vLLM 提供服务；vLLM 不支持的设备上用内置服务器：最新的权重，或指定的。
#
#   bash run_all.sh vllm                                  the newest weights, exported first where they are not
#                                                         最新的权重，尚未导出则先导出
#   bash run_all.sh vllm --weight full_sft --use-moe      out/full_sft_512_moe
#                                                         指定权重
#   bash run_all.sh vllm --devices 0-3 --port 9000        on these cards
#                                                         使用这些卡
#   bash run_all.sh vllm status                           also: logs, stop
#                                                         还有 logs、stop
#
#   --weight NAME      a name in out/, or a folder
#                      out/ 中的名称，或一个目录
#   --hidden-size N    width of the model, as in its folder's name
#                      模型宽度，与目录名一致
#   --use-moe          the mixture of experts of that name
#                      该名称的 MoE 模型
#   --device KIND      ascend, cuda or cpu, whatever is found here
#                      指定 ascend、cuda 或 cpu，不自动检测
#   --devices LIST     which cards, such as 0-3,6
#                      使用哪些卡，例如 0-3,6
#   ...                goes to danlu vllm
#                      交给 danlu vllm
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  local folder words=()
  need_environment base serve
  if [[ ${WORDS[0]:-} =~ ^(status|logs|stop)$ ]]; then
    become .venv/bin/python -m danlu vllm "${WORDS[@]}"
    return
  fi

  folder=$(weights "${OPT[weight]:-}")
  if [[ ! -f $folder/serve.json ]]; then
    export_of "$folder"
    folder=${folder%/}-hf
  fi
  words=("$folder" --device "$(accelerator)")
  if [[ -n ${OPT[devices]:-} ]]; then words+=(--devices "${OPT[devices]}"); fi
  words+=("${WORDS[@]}")
  need_vllm "${words[@]}"
  become .venv/bin/python -m danlu vllm "${words[@]}"
}

# export_of FOLDER: make FOLDER-hf, unless it is there and no older than the weights.
export_of() {
  if [[ -f $1-hf/serve.json && ! $1/config.json -nt $1-hf/serve.json ]]; then return; fi
  say "$(t "exporting" "导出") $1"
  run bash launch/convert.sh --weight "$1"
}

# need_vllm WORDS: vLLM's own environment, where these words would start one from it.
need_vllm() {
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  if [[ $(.venv/bin/python -m danlu vllm "$@" --needs) == vllm ]]; then
    bash launch/setup.sh --with vllm --device "$(accelerator)"
  fi
}

main "$@"
