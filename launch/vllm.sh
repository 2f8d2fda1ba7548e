#!/usr/bin/env bash
# Serve weights with vLLM; where it cannot, with the built-in server.
# 用 vLLM 提供服务；vLLM 不支持的设备上用内置服务器。
#
#   bash run_all.sh vllm                                  the newest weights, exported first where they are not
#                                                         最新的权重，尚未导出则先导出
#   bash run_all.sh vllm --weight full_sft --use-moe      the newest out/full_sft_..._moe
#                                                         指定权重
#   bash run_all.sh vllm --devices 0-3 --port 9000        on these cards
#                                                         使用这些卡
#   bash run_all.sh vllm status                           also: logs, stop
#                                                         还有 logs、stop
#
#   ...                       goes to danlu vllm
#                             交给 danlu vllm
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/weights.sh
source launch/serving.sh
source launch/engine.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  if [[ ${WORDS[0]:-} =~ ^(status|logs|stop)$ ]]; then
    engine 'base serve' -m danlu vllm "${WORDS[@]}"
  else
    serve_with vllm
  fi
}

main "$@"
