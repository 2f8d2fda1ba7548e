# shellcheck shell=bash
# Which weights a step works on: those named, else the newest, else the starter's, which are trained then.
# Part of launchers, after launch/lib.sh. Each function leaves a folder in FOLDER.
#
#   --weight NAME             a name in out/, a stage's weights, or a folder
#                             out/ 中的名称、某阶段的权重，或一个目录
#   --use-moe                 the mixture of experts of that name; alone: the newest one
#                             该名称的 MoE 模型；单独使用：最新的 MoE
#   --hidden-size N           width of the model
#                             模型宽度
#   --num-hidden-layers N     depth of the model
#                             模型层数

source launch/makes.sh

# look: the weights named, or the newest there are, in FOLDER; nothing if there are none.
look() {
  local folder all=()
  FOLDER=$(last_planned)
  if [[ -n $FOLDER ]]; then return; fi
  if [[ -n ${OPT[weight]:-} ]]; then
    FOLDER=$(finished "${OPT[weight]}")
    return
  fi
  for folder in out/*/; do
    folder=${folder%/}
    # An export stands for itself only where what it was made from is not there.
    if [[ ! -f $folder/serve.json || ! -f ${folder%-hf}/config.json || $folder != *-hf ]] && fits "$folder"; then
      all+=("$folder")
    fi
  done
  FOLDER=$(newest "${all[@]}")
}

# last_planned: the weights that would have been trained last by now, in a dry run.
last_planned() {
  local line kind="${OPT[use_moe]:+_moe}"
  while IFS= read -r line; do
    if [[ $line =~ ^out/"${OPT[weight]:+$(weight_of "${OPT[weight]}")}".*"$kind"$ && $line != *-hf ]]; then printf '%s\n' "$line"; fi
  done <"${DANLU_PLAN:-/dev/null}" | tail -n 1
}

# need_named: look, and refuse weights that were asked for and are not there, before minutes are spent on anything.
need_named() {
  look
  if [[ -z $FOLDER && -n ${OPT[weight]:-}${OPT[hidden_size]:-}${OPT[num_hidden_layers]:-} ]]; then
    need_finished "${OPT[weight]:-tool_sft}"
  fi
}

# no_names: refuse a first word that is no option: weights are named by --weight.
no_names() {
  if [[ ${WORDS[0]:--} != -* ]]; then
    die "$(t "'${WORDS[0]}' means nothing here" "这里不认识「${WORDS[0]}」")" "--weight ${WORDS[0]}"
  fi
}

# weights: the weights to work on, in FOLDER; made if nobody named any and none are there.
weights() {
  need_named
  if planned "${FOLDER:-.}" || [[ -n ${OPT[weight]:-} ]]; then
    return
  elif [[ -z $FOLDER ]]; then
    say "$(t "no weights were named, and none are trained yet" "没有指定权重，也还没有训练好的权重")"
    train_starter
  elif under_way "$FOLDER"; then
    if is_moe "$FOLDER"; then OPT[use_moe]=1; fi
    say "$(t "the starter's training goes on" "继续入门模型的训练")"
    train_starter
  fi
}

# under_way FOLDER: whether these are weights on the way to the starter's last, whose making was begun and not ended.
under_way() {
  local mark=runs/starter/wanted
  if is_moe "$1"; then mark+=_moe; fi
  [[ -f $mark && -f $1/run.json && $(told "$1/run.json" run_dir) == runs/starter/* ]]
}

# train_starter: all the starter's stages, and a mark as long as they are not all done.
train_starter() {
  local mark=runs/starter/wanted${OPT[use_moe]:+_moe}
  say "$(t "training the starter's tiny${OPT[use_moe]:+-moe}: three stages, about eight minutes on two cores" \
    "训练入门模型 tiny${OPT[use_moe]:+-moe}：三个阶段，双核约八分钟")"
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    starter tool_sft
    return
  fi
  need_writable data runs out
  mkdir -p runs/starter
  : >"$mark"
  starter tool_sft
  rm -f "$mark"
}

# is_exported FOLDER: whether it is an export, or has one that is no older, which is then FOLDER.
is_exported() {
  if [[ -f $1/serve.json ]]; then return; fi
  if planned "$1-hf"; then
    FOLDER=$1-hf
    return
  fi
  if [[ ! -f $1-hf/serve.json || $1/config.json -nt $1-hf/serve.json ]]; then return 1; fi
  FOLDER=$1-hf
}

# export_of_weights: the export of FOLDER, in FOLDER; made if it is missing or older.
export_of_weights() {
  if is_exported "$FOLDER"; then return; fi
  need_writable "$(dirname -- "$FOLDER")"
  passed_on
  timed convert attended bash launch/convert.sh --weight "$FOLDER" "${PASSED[@]}"
  FOLDER+=-hf
}

# host_parts PARTS...: parts of the environment that are needed further on, made at once, where Python runs here.
host_parts() {
  if [[ ${OPT[runtime]:-host} == host ]] && ! ready .venv "$@"; then timed setup need_environment "$@"; fi
}
