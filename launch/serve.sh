#!/usr/bin/env bash
# Serve finished weights behind OpenAI's API, with a page to talk to them: the newest in out/, or those named.
# 以 OpenAI 兼容接口提供训练好的模型，并附对话页面：out/ 中最新的，或指定的。
#
#   bash run_all.sh serve                                 the newest weights, on 127.0.0.1:8000
#                                                         最新的权重，地址 127.0.0.1:8000
#   bash run_all.sh serve --weight full_sft --use-moe     out/full_sft_512_moe
#                                                         指定权重
#   bash run_all.sh serve --port 0 --name assistant       any free port, under a name of its own
#                                                         任意空闲端口，自定模型名
#
#   --weight NAME      a name in out/, or a folder
#                      out/ 中的名称，或一个目录
#   --hidden-size N    width of the model, as in its folder's name
#                      模型宽度，与目录名一致
#   --use-moe          the mixture of experts of that name
#                      该名称的 MoE 模型
#   ...                goes to danlu serve
#                      交给 danlu serve
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  local folder
  folder=$(weights "${OPT[weight]:-}")
  need_environment base serve
  become .venv/bin/python -m danlu serve "$folder" "${WORDS[@]}"
}

main "$@"
