#!/usr/bin/env bash
# Train on the hosts that Slurm gives: one run_all.sh on each, told its place among them.
# 在 Slurm 分配的主机上训练：每台主机运行一个 run_all.sh，并得知自己的位置。
#
#   sbatch --nodes 2 --gpus-per-node 8 launch/slurm.sh train pretrain data.train=corpus.jsonl
#   sbatch --nodes 4 --gres npu:8 launch/slurm.sh pretrain --use-moe --set data.train=corpus.jsonl
#   sbatch --nodes 2 --cpus-per-task 32 launch/slurm.sh train pretrain data.train=corpus.jsonl device=cpu
#
# Called from the clone, which every host sees at the same place. What follows the script goes to run_all.sh as it is;
# 在仓库目录中调用，各主机须能在同一路径看到仓库。脚本名之后的参数原样交给 run_all.sh，
# what is meant for sbatch comes before it. Used is what Slurm leaves visible of a host's devices. Two minutes before
# sbatch 的参数写在脚本名之前。使用 Slurm 分配可见的设备。时限前两分钟
# its time is up a run is told to save and to leave; --resume goes on from there.
# 通知训练保存并退出；用 --resume 继续。

#SBATCH --job-name=danlu
#SBATCH --ntasks-per-node=1
#SBATCH --output=slurm-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -Eeuo pipefail
# sbatch runs a copy of this file, from elsewhere.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
if [[ ! -f launch/lib.sh ]]; then
  printf 'error: %s is not the clone / 不是仓库目录\n  try: cd CLONE && sbatch launch/slurm.sh train pretrain\n' "$PWD" >&2
  exit 2
fi
source launch/lib.sh

main() {
  local first
  if [[ ${1:-} == --help || -z ${SLURM_JOB_ID:-} ]]; then help_here "$@"; fi
  first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  export NODES=$SLURM_JOB_NUM_NODES MASTER_ADDR=$first MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 10000))}
  if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi # srun inherits it no more
  say "$NODES $(t "hosts, the first is" "台主机，第一台为") $MASTER_ADDR:$MASTER_PORT"
  bash run_all.sh setup # once, before all hosts ask for it
  # shellcheck disable=SC2016 # each host knows its own number
  exec srun --ntasks-per-node=1 --kill-on-bad-exit=1 bash -c 'NODE_RANK=$SLURM_NODEID exec bash run_all.sh "$@"' run_all.sh "$@"
}

# help_here WORDS...: this file's help; an error where Slurm did not start it and nobody asked for help.
help_here() {
  if [[ ${1:-} != --help ]]; then die "$(t "Slurm did not start this" "此脚本应由 Slurm 启动")" "sbatch launch/slurm.sh ${*:-train pretrain}"; fi
  header launch/slurm.sh | translated
  exit
}

main "$@"
