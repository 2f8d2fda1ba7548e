#!/usr/bin/env bash
# Learn a vocabulary from text, or measure one; alone: the starter's, to the same bytes.
# 从文本训练词表，或评测词表；不带参数：重新得到入门词表，逐字节一致。
#
#   bash run_all.sh tokenizer                                                     the starter's again
#                                                                                 重新得到入门词表
#   bash run_all.sh tokenizer train --text a.jsonl --size 6400 --out my-words     one of your own
#                                                                                 训练自己的词表
#   bash run_all.sh tokenizer report my-words                                     compression, round trips
#                                                                                 压缩率与还原
#
#   ...                a command of danlu tokenizer (train, report, extend, trim), and its words
#                      danlu tokenizer 的命令（train、report、extend、trim）及其参数
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/engine.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  if [[ ${WORDS[0]:--} == -* ]]; then WORDS=(train "${WORDS[@]}"); fi
  engine base -m danlu tokenizer "${WORDS[@]}"
}

main "$@"
