#!/usr/bin/env bash
# Write the starter's data set into data/starter; or check, show, convert, prepare yours.
# 写出入门数据集到 data/starter；或检查、展示、转换、预处理自己的数据。
#
#   bash run_all.sh data                              the starter set, Chinese and English: 24 MB, seconds
#                                                     入门数据集，中英双语：24 MB，数秒
#   bash run_all.sh data check corpus.jsonl           every bad row, by file and line
#                                                     逐行检查数据
#   bash run_all.sh data show chats.jsonl             samples as a model sees them
#                                                     按模型所见展示样本
#
#   ...                a command of danlu data, and its words
#                      danlu data 的命令及其参数
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/engine.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  if ((${#WORDS[@]} == 0)); then
    WORDS=(starter --out data/starter --quiet)
    need_writable data
    would_make data/starter
  fi
  engine base -m danlu data "${WORDS[@]}"
}

main "$@"
