#!/usr/bin/env bash
# Train one stage on the devices of this host.
# 在本机的设备上训练一个阶段。
#
#   bash run_all.sh train pretrain data.train=corpus.jsonl         with settings of its own
#                                                                  带自己的设置
#   bash run_all.sh pretrain sft --set epochs=2                    stages by name, one after the other
#                                                                  按名称依次训练
#   NODES=2 NODE_RANK=0 MASTER_ADDR=host0 bash run_all.sh train …  alike on each of several hosts
#                                                                  多机：每台主机同样执行
#
#   --config FILE             this YAML instead of configs/STAGE.yaml
#                             使用该 YAML
#   --from NAME               start from these finished weights
#                             从这份权重开始
#   --use-moe                 the mixture-of-experts twin of the model
#                             使用该模型的 MoE 版本
#   --hidden-size N           width of the model
#                             模型宽度
#   --num-hidden-layers N     depth of the model
#                             模型层数
#   --dtype NAME              float32, bfloat16 or float16
#                             数值格式
#   --set KEY=VALUE...        any key of the stage: danlu config STAGE
#                             该阶段的任意设置
#   --resume                  go on from the newest checkpoint of --set run_dir=...
#                             从最近的检查点继续
#   --device KIND             ascend, cuda or cpu, whatever is found here
#                             指定 ascend、cuda 或 cpu，不自动检测
#   --devices LIST            some of them: 0-3 or 0,2
#                             选用部分设备
#   ...                       the stage, then KEY=VALUE
#                             阶段名，然后是 KEY=VALUE
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh

# The weights a stage starts from when nobody says: those the stage before it leaves.
declare -rA AFTER=([sft]=pretrain [reason]=full_sft)

main() {
  options "${BASH_SOURCE[0]}" "$@"
  local name=${WORDS[0]:-} settings=() command=()
  name=$(stage "$name")
  if [[ $name != *.y*ml ]] && ! grep -qxF -- "$name" < <(stages); then
    die "$(t "there is no stage '$name'" "没有阶段「$name」")" "$(stages | paste -s -d ' ' -)"
  fi
  collect_settings "$name"
  choose_devices
  need_environment base
  become "${command[@]}" -m danlu train "${OPT[config]:-$name}" "${settings[@]}"
}

# collect_settings STAGE: all that was asked for as the engine's own KEY=VALUE words, in `settings`.
collect_settings() {
  local from=${OPT[from]:-${AFTER[$1]:-}} model
  mapfile -t settings < <(printf '%s' "${OPT[set]:-}" && printf '%s\n' "${WORDS[@]:1}")
  if ((${#WORDS[@]} < 2)); then unset 'settings[-1]'; fi

  # With weights to start from, the shape says which; without, what to build.
  if [[ -n $from ]] && ! setting from "$1" >/dev/null; then
    from=$(weights "$from")
    settings+=("from=$from")
  else
    if [[ -n ${OPT[use_moe]:-} ]]; then
      if ! model=$(setting model "$1"); then die "$(t "--use-moe: of which model?" "--use-moe：哪个模型？")" "--set model=26m"; fi
      settings+=("model=${model%-moe}-moe")
    fi
    if [[ -n ${OPT[hidden_size]:-} ]]; then settings+=("model.hidden_size=${OPT[hidden_size]}"); fi
    if [[ -n ${OPT[num_hidden_layers]:-} ]]; then settings+=("model.num_hidden_layers=${OPT[num_hidden_layers]}"); fi
  fi
  if [[ -n ${OPT[dtype]:-} ]]; then settings+=("dtype=${OPT[dtype]}"); fi
  if [[ -n ${OPT[resume]:-} ]]; then settings+=(resume=true); fi
  if [[ -n ${OPT[device]:-} ]]; then settings+=("device=$(accelerator)"); fi
}

# setting KEY STAGE: the value the words so far give it, else the configuration; fails if neither does.
setting() {
  local word file=${OPT[config]:-configs/$2.yaml}
  for word in "${settings[@]}"; do
    if [[ $word == "$1="* ]]; then
      echo "${word#*=}"
      return
    fi
  done
  sed -n "s/^$1: *//p" "$file" | grep .
}

# choose_devices: which devices, and how many processes, as the beginning of `command`.
choose_devices() {
  local kind ids=() processes=1
  kind=$(accelerator)
  if [[ $kind != cpu ]]; then processes=$(device_nodes "$kind" | wc -l); fi
  if [[ -n ${OPT[devices]:-} ]]; then
    mapfile -t ids < <(device_ids "${OPT[devices]}")
    processes=${#ids[@]}
    case $kind in
      npu) command=(env "ASCEND_RT_VISIBLE_DEVICES=$(paste -s -d , - < <(printf '%s\n' "${ids[@]}"))") ;;
      cuda) command=(env "CUDA_VISIBLE_DEVICES=$(paste -s -d , - < <(printf '%s\n' "${ids[@]}"))") ;;
    esac
  fi
  command+=(.venv/bin/python)
  if ((processes * ${NODES:-1} > 1)); then
    command+=(-m torch.distributed.run --nproc-per-node "$processes" --nnodes "${NODES:-1}")
    if ((${NODES:-1} > 1)); then
      : "${NODE_RANK:?is unset; every host has its own, from 0}" "${MASTER_ADDR:?is unset; the first host}"
      command+=(--node-rank "$NODE_RANK" --master-addr "$MASTER_ADDR" --master-port "${MASTER_PORT:-29500}")
    else
      command+=(--standalone)
    fi
  fi
}

main "$@"
