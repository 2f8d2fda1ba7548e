#!/usr/bin/env bash
# Train one stage on the devices of this host; without data of yours, the starter's, in minutes.
# 在本机的设备上训练一个阶段；不指定数据时用几分钟训练入门模型。
#
#   bash run_all.sh train pretrain data.train=corpus.jsonl         with settings of its own
#                                                                  带自己的设置
#   bash run_all.sh sft --set data.train=a.jsonl --set epochs=2    a stage by its name
#                                                                  按名称训练
#   bash run_all.sh --use-moe pretrain sft tool_sft                the starter's stages, those that are not
#                                                                  there yet or older than what they come from
#                                                                  入门模型的各阶段；已有且不旧的不再训练
#   NODES=2 NODE_RANK=0 MASTER_ADDR=host0 bash run_all.sh train ...  alike on each of several hosts
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
#   --resume                  go on from the newest checkpoint, of --set run_dir=... or the newest run
#                             从最近的检查点继续
#   --detach                  go on without this terminal: then status, logs, stop
#                             转入后台运行，之后用 status、logs、stop
#   ...                       the stage, then KEY=VALUE
#                             阶段名，然后是 KEY=VALUE
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/makes.sh
source launch/engine.sh

main() {
  local name config settings=() asked
  options "${BASH_SOURCE[0]}" "$@"
  if [[ -n ${OPT[detach]:-} && -z ${DANLU_DETACHED:-} && ${DRY_RUN:-0} != 1 ]]; then exec bash run_all.sh train "$@"; fi
  OPT[detach]='' # the story is, and what it runs is not
  if ((${#WORDS[@]} == 0)); then die "$(t "train what?" "训练哪个阶段？")" "$(stages | paste -s -d ' ' -)"; fi
  name=$(stage "${WORDS[0]}")
  if [[ $name != *.y*ml ]] && ! grep -qxF -- "$name" < <(stages); then
    die "$(t "there is no stage '$name'" "没有阶段「$name」")" "$(stages | paste -s -d ' ' -)"
  fi
  config=${OPT[config]:-$name}
  asked_settings
  if wants_starter; then
    asked=${#settings[@]} config=configs/starter/$name.yaml
    say "$(t "no data was named: the starter's recipe, $config" "没有指定数据：使用入门配方 $config")"
    if ((asked == 0)) && [[ -z ${OPT[from]:-} ]]; then
      starter "$name"
      if [[ -n $TIMES && ${DRY_RUN:-0} != 1 ]]; then say "$(t "done" 完成): $TIMES"; fi
      return
    fi
    starter_data
  fi
  start_from
  need_writable runs out
  would_make "$(would_be "$(weight_of "$name")")"
  engine_ranks base -m danlu train "$config" "${settings[@]}"
}

# asked_settings: what was asked for in so many words, as the engine's KEY=VALUE, in `settings`.
asked_settings() {
  if [[ -n ${OPT[set]:-} ]]; then mapfile -t settings <<<"${OPT[set]%$'\n'}"; fi
  settings+=("${WORDS[@]:1}")
  if [[ -n ${OPT[dtype]:-} ]]; then settings+=("dtype=${OPT[dtype]}"); fi
}

# wants_starter: whether nothing says what to train on, and the starter has a recipe for this stage.
wants_starter() {
  local key
  if [[ -n ${OPT[config]:-} || ! -f configs/starter/$name.yaml ]]; then return 1; fi
  for key in data.train run_dir; do
    if setting "$key" >/dev/null; then return 1; fi
  done
}

# start_from: add to `settings` the weights to start from, or what to build where there are none.
start_from() {
  local from=${OPT[from]:-} model
  if setting from >/dev/null; then
    from='' # the words or the configuration say it
  elif [[ -n $from && ($from == *://* || $from == */*/* || -d $from) ]]; then
    settings+=("from=$from") # a hub's, or a folder
  elif [[ -n $from ]]; then
    need_finished "$from"
    settings+=("from=$FOLDER")
  elif [[ -n ${BEFORE[$name]:-} && $config == configs/starter/* ]]; then
    starter "${BEFORE[$name]}"
    settings+=("from=$FOLDER")
  elif [[ -n ${BEFORE[$name]:-} ]]; then
    need_finished "$(weight_of "${BEFORE[$name]}")"
    settings+=("from=$FOLDER")
  else
    build_model
  fi
  if [[ -n ${OPT[resume]:-} ]] && ! setting resume >/dev/null; then settings+=(resume=true); fi
  if [[ -n ${OPT[device]:-} ]]; then settings+=("device=$(accelerator)"); fi
}

# build_model: add to `settings` the shape asked for by options.
build_model() {
  local model
  if [[ -n ${OPT[use_moe]:-} ]]; then
    if ! model=$(setting model); then die "$(t "--use-moe: of which model?" "--use-moe：哪个模型？")" "--set model=26m"; fi
    settings+=("model=${model%-moe}-moe")
  fi
  if [[ -n ${OPT[hidden_size]:-} ]]; then settings+=("model.hidden_size=${OPT[hidden_size]}"); fi
  if [[ -n ${OPT[num_hidden_layers]:-} ]]; then settings+=("model.num_hidden_layers=${OPT[num_hidden_layers]}"); fi
}

# setting KEY: the value the words so far give it, else the configuration; fails if neither does.
setting() {
  local word file=$config
  if [[ $file != *.y*ml ]]; then file=configs/$file.yaml; fi
  for word in "${settings[@]}"; do
    if [[ $word == "$1="* ]]; then
      printf '%s\n' "${word#*=}"
      return
    fi
  done
  if [[ ! -f $file ]]; then
    return 1
  elif [[ $1 == data.* ]]; then # a section's key
    sed -n '/^data:/,/^[^ ]/s/^  '"${1#data.}"': *//p' "$file" | grep .
  else
    sed -n "s/^$1: *//p" "$file" | grep .
  fi
}

main "$@"
