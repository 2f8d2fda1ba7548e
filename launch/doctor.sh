#!/usr/bin/env bash
# Look this host over: driver, CANN or CUDA, cards, containers, disk, network; each finding with its remedy.
# 检查本机：驱动、CANN 或 CUDA、加速卡、容器、磁盘、网络；每项都给出解决办法。
#
#   bash run_all.sh doctor                what works here, what blocks
#                                         本机什么可用、什么有问题
#   bash run_all.sh doctor --json         the same for a program, in both languages
#                                         供程序读取，含中英文
#
# Nothing is changed, and no Python is needed. Ends with 1 where something blocks, with 0 otherwise.
# 不做任何改动，也不需要 Python。有问题时退出码为 1，否则为 0。
#
#   --json             as JSON
#                      以 JSON 输出
#   --offline          ask nothing outside this host
#                      不访问网络
#   --device KIND      ascend, cuda or cpu, whatever is found here
#                      指定 ascend、cuda 或 cpu，不自动检测
#   --runtime KIND     docker: what blocks containers is a problem, not a note
#                      docker：容器方面的提示视为问题
#   --port N           the port that will be served on
#                      将要使用的服务端口
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/doctor/parts.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  check_words
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    run bash launch/doctor.sh "$@"
    return
  fi
  examine system resources environment accelerator containers network
  if [[ -n ${OPT[json]:-} ]]; then
    report_json | unicode
  else
    report
    summary_line
  fi
  if (($(found problem) > 0)); then exit 1; fi
}

# check_words: refuse what no check could heed.
check_words() {
  if [[ ! ${OPT[port]:-8000} =~ ^[1-9][0-9]{0,4}$ ]] || ((${OPT[port]:-8000} > 65535)); then
    die "--port ${OPT[port]}: $(t "not a port" 不是端口)" "--port 8000"
  fi
}

# unicode: without what is not; a process may carry any bytes as its name.
unicode() { if type -P iconv >/dev/null; then iconv -c -f UTF-8 -t UTF-8; else cat; fi; }

main "$@"
