#!/bin/bash
# What a container of our images begins with: CANN's settings where there are some, then danlu with the words given.
#
#   enter.sh train sft          danlu train sft
#   enter.sh -m convert ...     Python's own words, where the first is -m, -c or a file of Python
set -e

# matrix: toolkit='{container_npu.toolkit}'
toolkit='/usr/local/Ascend/cann/set_env.sh /usr/local/Ascend/ascend-toolkit/set_env.sh'
# matrix: atb='{container_npu.atb}'
atb='/usr/local/Ascend/nnal/atb/set_env.sh'

for files in "$toolkit" "$atb"; do
  for file in $files; do
    if [[ -f $file ]]; then
      # shellcheck source=/dev/null
      source "$file"
      break
    fi
  done
done
# The driver's libraries where it is mounted; where it is not, CANN's stand-ins, without which nothing imports.
for folder in /usr/local/Ascend/driver/lib64{,/common,/driver} "${ASCEND_TOOLKIT_HOME:-/usr/local/Ascend/cann}"/devlib; do
  if [[ -d $folder ]]; then LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder; fi
done
if [[ -n ${LD_LIBRARY_PATH:-} ]]; then export LD_LIBRARY_PATH; fi

# vLLM, where the image has it, runs on the image's Python.
if [[ -n ${DANLU_VLLM_PYTHON:-} ]]; then
  DANLU_VLLM_PYTHON=$(command -v "$DANLU_VLLM_PYTHON")
  export DANLU_VLLM_PYTHON
fi
case ${1:-} in
  -m | -c | *.py) exec python3 "$@" ;;
  *) exec python3 -m danlu "$@" ;;
esac
