# shellcheck shell=bash
# What steps need and how it is made where it is missing: finished weights by name, and the starter's, which a host
# can learn in minutes from data that comes with the project. Part of launchers, after launch/lib.sh.
#
# Each function leaves the folder it is about in FOLDER. What is newer than what it is made from is not made again:
# runs/starter/NAME/made-from holds a number made from all of that, and out/NAME comes after it.

FOLDER=''

# The weights a stage starts from when nobody says: those the stage before it leaves.
declare -rA BEFORE=([sft]=pretrain [reason]=sft [tool_sft]=sft)
STARTER=data/starter

# weight_of STAGE: the first part of its weights' name.
weight_of() {
  case $1 in
    sft | full_sft) echo full_sft ;;
    *) printf '%s\n' "$1" ;;
  esac
}

# told FILE KEY: what a JSON file tells under that key where it first comes; nothing if it does not.
told() {
  local line entry="\"$2\": *\"?([^\",}]*)"
  while IFS= read -r line || [[ -n $line ]]; do
    if [[ $line =~ $entry ]]; then
      printf '%s\n' "${BASH_REMATCH[1]}"
      return
    fi
  done <"$1"
}

# is_moe FOLDER: whether the model there is a mixture of experts.
is_moe() { [[ $1 =~ _moe(-hf)?/?$ ]] || grep -qE '"(num_experts|n_routed_experts|num_local_experts)"' "$1/config.json"; }

# fits FOLDER: whether it holds finished weights of the size and kind asked for.
fits() {
  if [[ ! -f $1/config.json ]]; then return 1; fi
  if [[ -n ${OPT[hidden_size]:-} && $(told "$1/config.json" hidden_size) != "${OPT[hidden_size]}" ]]; then return 1; fi
  if [[ -n ${OPT[num_hidden_layers]:-} && $(told "$1/config.json" num_hidden_layers) != "${OPT[num_hidden_layers]}" ]]; then
    return 1
  fi
  [[ -z ${OPT[use_moe]:-} ]] || is_moe "$1"
}

# newest FOLDERS...: the one written last; nothing of none.
newest() {
  local folder found=''
  for folder in "$@"; do
    if [[ -z $found || $folder -nt $found ]]; then found=$folder; fi
  done
  printf '%s' "$found"
}

# finished NAME: the folder of the finished weights a name means, sized by OPT; nothing if there are none. A dense
# model comes first where both are there and --use-moe was not said.
finished() {
  local folder all=() dense=()
  for folder in "$1" "out/$1"; do
    if [[ -f $folder/config.json ]]; then
      printf '%s' "${folder%/}"
      return
    fi
  done
  for folder in "out/$(weight_of "$1")"_*; do
    if [[ ! $folder =~ _[0-9]+(_moe)?$ || ${folder%%_[0-9]*} != "out/$(weight_of "$1")" ]] || ! fits "$folder"; then
      continue
    fi
    all+=("$folder")
    if ! is_moe "$folder"; then dense+=("$folder"); fi
  done
  if ((${#dense[@]} > 0)); then all=("${dense[@]}"); fi
  newest "${all[@]}"
}

# need_finished NAME: those weights in FOLDER; where they are not there, what makes them is named.
need_finished() {
  FOLDER=$(finished "$1")
  if [[ -n $FOLDER ]]; then return; fi
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    FOLDER=$(would_be "$1")
    return
  fi
  local size=''
  if [[ -n ${OPT[use_moe]:-} ]]; then size+=' --use-moe'; fi
  if [[ -n ${OPT[hidden_size]:-} ]]; then size+=" --hidden-size ${OPT[hidden_size]}"; fi
  if [[ -n ${OPT[num_hidden_layers]:-} ]]; then size+=" --num-hidden-layers ${OPT[num_hidden_layers]}"; fi
  die "$(t "no finished weights '$1'$size here" "这里没有训练好的权重「$1」$size")" \
    "bash run_all.sh$size train $(maker_of "$1") data.train=FILE.jsonl"
}

# would_be NAME: the folder in which weights of that name would lie.
would_be() {
  case $1 in
    */*) printf '%s\n' "${1%/}" ;;
    *_[0-9]*) printf '%s\n' "out/$1" ;;
    *) printf '%s\n' "out/$(weight_of "$1")_${OPT[hidden_size]:-512}${OPT[use_moe]:+_moe}" ;;
  esac
}

# maker_of NAME: the stage whose weights have such a name.
maker_of() {
  local name
  for name in $(stages); do
    if [[ $1 == "$name" || ${1##*/} == "$(weight_of "$name")"* ]]; then
      echo "$name"
      return
    fi
  done
  echo STAGE
}

# passed_on: the options that say where to compute, as words for another launcher, in PASSED. An image is built again once.
passed_on() {
  local name
  PASSED=()
  for name in device devices runtime; do
    if [[ -n ${OPT[$name]:-} ]]; then PASSED+=("--$name" "${OPT[$name]}"); fi
  done
  for name in offline mirror; do
    if [[ -n ${OPT[$name]:-} ]]; then PASSED+=("--$name"); fi
  done
  if [[ -n ${OPT[force_build]:-} ]]; then PASSED+=(--force-build); fi
  OPT[force_build]=''
}

# starter_data: the data set that comes with the project, in data/starter.
starter_data() {
  if [[ -f $STARTER/README.md ]] || planned "$STARTER"; then return; fi
  passed_on
  timed data attended bash launch/data.sh "${PASSED[@]}"
}

# starter STAGE: the starter's weights of that stage, with all that comes before them.
starter() {
  local from='' words=() name=$1 home number
  need_writable data runs out
  if [[ -n ${BEFORE[$1]:-} ]]; then
    starter "${BEFORE[$1]}"
    from=$FOLDER
    words=("from=$from")
  else
    starter_data
    mapfile -t words < <(starter_shape)
  fi
  name=$(weight_of "$1")_${OPT[hidden_size]:-128}${OPT[use_moe]:+_moe}
  FOLDER=out/$name home=runs/starter/$name
  if planned "$FOLDER" || kept_as_it_is "$FOLDER" "$home"; then return; fi
  number=$(made_from "$1" "$from" "${words[@]}")
  if was_made "$FOLDER" "$home" "$number"; then
    say "$(t "trained already" "已训练过"): $FOLDER"
    return
  fi
  begin_run "$home" "$number"
  words+=("run_dir=$home")
  if [[ -e $home/latest ]]; then words+=(resume=true); fi
  passed_on
  on_one_device
  timed "$1" attended bash launch/train.sh "${PASSED[@]}" "configs/starter/$1.yaml" "${words[@]}"
  would_make "$FOLDER"
  if [[ ${DRY_RUN:-0} != 1 ]] && ! was_made "$FOLDER" "$home" "$number"; then
    die "$(t "$FOLDER was not finished" "$FOLDER 未完成")" "$(t "the same command goes on" "重跑同一命令即可继续")"
  fi
}

# on_one_device: add to PASSED the first of this host's cards, unless some were chosen: more would not make it faster.
on_one_device() {
  choose_devices
  if [[ -z ${OPT[devices]:-} && $KIND != cpu && ${CHOSEN[0]:-} =~ ^[0-9]+$ ]]; then PASSED+=(--devices "${CHOSEN[0]}"); fi
}

# starter_shape: what the starter's model is, as KEY=VALUE, one a line.
starter_shape() {
  printf '%s\n' "model=tiny${OPT[use_moe]:+-moe}"
  if [[ -n ${OPT[hidden_size]:-} ]]; then printf '%s\n' "model.hidden_size=${OPT[hidden_size]}"; fi
  if [[ -n ${OPT[num_hidden_layers]:-} ]]; then printf '%s\n' "model.num_hidden_layers=${OPT[num_hidden_layers]}"; fi
}

# made_from STAGE FROM WORDS...: one number of all that the starter's weights are made from.
made_from() {
  local file files=()
  for file in "configs/starter/$1.yaml" "configs/model/tiny${OPT[use_moe]:+-moe}.yaml" "${2:-.}/run.json" "$STARTER"/*.jsonl; do
    if [[ -f $file ]]; then files+=("$file"); fi
  done
  { cat "${files[@]}" && printf '%s\n' "${@:3}"; } | cksum
}

# was_made FOLDER RUN NUMBER: whether that run has left these weights, of what the number says.
was_made() {
  [[ -f $1/run.json && -f $2/made-from && $1/run.json -nt $2/made-from ]] &&
    [[ $(told "$1/run.json" run_dir) == "$2" && $(<"$2/made-from") == "$3" ]]
}

# kept_as_it_is FOLDER RUN: whether weights of another run lie there; they are used, and never replaced.
kept_as_it_is() {
  if [[ ! -f $1/config.json || (-f $1/run.json && $(told "$1/run.json" run_dir) == "$2") ]]; then return 1; fi
  say "$(t "$1 is from another run; it is used as it is" "$1 来自其他训练，直接使用")"
}

# begin_run RUN NUMBER: a folder for a run of these things: an unfinished one goes on, one of other things is removed.
begin_run() {
  if [[ ${DRY_RUN:-0} == 1 || (-f $1/made-from && $(<"$1/made-from") == "$2") ]]; then return; fi
  rm -rf "$1"
  mkdir -p "$1"
  printf '%s\n' "$2" >"$1/made-from"
}
