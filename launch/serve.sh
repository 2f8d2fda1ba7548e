#!/usr/bin/env bash
# Serve weights behind OpenAI's API, with a page: those named, the newest, or the starter's.
# 以 OpenAI 兼容接口提供模型，并附对话页面：指定的、最新的，或入门模型。
#
#   bash run_all.sh serve                                 the newest weights, on 127.0.0.1:8000; where nothing
#                                                         was trained yet, the starter is: minutes
#                                                         最新的权重，地址 127.0.0.1:8000；尚未训练时
#                                                         先用几分钟训练入门模型
#   bash run_all.sh serve --weight full_sft --use-moe     the newest out/full_sft_..._moe
#                                                         指定权重
#   bash run_all.sh serve --port 0 --name assistant       any free port, under a name of its own
#                                                         任意空闲端口，自定模型名
#
#   --backend WORD            vllm or builtin; vllm on an accelerator it knows, builtin elsewhere
#                             vllm 或 builtin；vLLM 支持的加速卡上用 vllm，其他用 builtin
#   ...                       goes to danlu serve, or danlu vllm
#                             交给 danlu serve 或 danlu vllm
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/weights.sh
source launch/serving.sh
source launch/engine.sh

main() {
  local by
  options "${BASH_SOURCE[0]}" "$@"
  by=$(backend)
  serve_with "$by"
}

main "$@"
