# shellcheck shell=bash
# From words to steps: the tools of run_all.sh.
#
# A step is an executable launch/NAME.sh, or a training stage with a configs/NAME.yaml, which launch/train.sh
# performs. Its help and its options are what the header of that file says, so a step is added by adding a file.

# The order in which help tells of steps.
STORY=(setup doctor build data tokenizer train convert serve vllm chat eval test bench status logs stop shell clean)

STEPS=() # what to do, in order
GIVEN=() # options, as --name or --name=value
REST=()  # the last step's own words

# launcher STEP: the script that performs it; nothing if there is none.
launcher() {
  if [[ -x launch/$1.sh ]]; then
    echo "launch/$1.sh"
  elif grep -qxF -- "$1" < <(stages); then
    echo launch/train.sh
  fi
}

# launchers: every script that is a step, one a line; those of a story in its order, any other after them.
launchers() {
  local file
  for file in "${STORY[@]/#/launch/}"; do
    if [[ -x $file.sh ]]; then echo "$file.sh"; fi
  done
  for file in launch/*.sh; do
    if [[ -x $file && " ${STORY[*]} " != *" $(basename "$file" .sh) "* ]]; then echo "$file"; fi
  done
}

# knows SCRIPT OPTION: whether the script's header documents it ('rest': words of its own).
knows() {
  local option=${2#--}
  grep -q "^${option%%=*} " < <(option_lines "$1")
}

# steps_of WORD: the steps it means, if all of them are there: a preset's, or the one of that name.
steps_of() {
  local name names
  if [[ ! $1 =~ ^[A-Za-z0-9_-]+$ ]]; then return 1; fi # no key of a table either
  names=${PRESETS[$1]:-$(stage "$1")}
  for name in $names; do
    if [[ -z $(launcher "$name") ]]; then return 1; fi
  done
  echo "$names"
}

# own STEP WORD: whether a word after that step is its own: not the next step's name, or one that the step has a use for.
own() {
  case "$1 $2" in
    train\ * | bench\ * | shell\ * | logs\ * | stop\ * | clean\ *) ;;
    'data convert' | 'tokenizer train' | 'vllm status' | 'vllm logs' | 'vllm stop') ;;
    *) ! steps_of "$2" >/dev/null ;;
  esac
}

# read_words WORDS...: fill STEPS, GIVEN and REST; every word is understood before anything is done.
read_words() {
  local name names option
  if (($# == 0)); then set -- --help; fi
  if [[ " $* " =~ \ --lang[\ =](zh|en)\  ]]; then language "${BASH_REMATCH[1]}"; fi # of help too
  while (($# > 0)); do
    case $1 in
      -h | --help)
        if ((${#STEPS[@]} > 0)); then bash "$(launcher "${STEPS[-1]}")" --help; else help; fi
        exit
        ;;
      --dry-run) export DRY_RUN=1 ;;
      --detached) export DANLU_DETACHED=1 ;; # from launch/detach.sh alone
      --lang=*) language "${1#*=}" ;;
      --*=*) GIVEN+=("$1") ;;
      --*)
        if takes_value "$1"; then
          if [[ ${2:---} == --* ]]; then die "$(t "$1 wants a value" "$1 需要一个值")" "$1=..."; fi
          set -- "$1=$2" "${@:3}"
          continue
        fi
        GIVEN+=("$1")
        ;;
      *)
        if ! names=$(steps_of "$1"); then
          die "$(t "there is no step '$1'" "没有步骤「$1」")" "bash run_all.sh --help"
        fi
        read -ra names <<<"$names"
        STEPS+=("${names[@]}")
        if (($# > 1)) && [[ -x launch/$1.sh ]] && knows "launch/$1.sh" rest && own "$1" "$2"; then
          REST=("${@:2}")
          break
        fi
        ;;
    esac
    shift
  done
  if ((${#STEPS[@]} == 0)); then die "$(t "no step was named" "没有给出步骤")" "bash run_all.sh --help"; fi
  for name in "${STEPS[@]:0:${#STEPS[@]}-1}"; do
    if [[ $name == @(serve|vllm) && " ${GIVEN[*]} " != *' --detach '* ]]; then
      die "$(t "$name does not end by itself: what comes after it would wait" "$name 不会自行结束，后面的步骤会一直等待")" "--detach"
    fi
  done
  for option in "${GIVEN[@]}"; do
    known_to_a_step "$option"
    name=${option#--}
    check_option "${name%%=*}" "${name#*=}"
  done
}

# takes_value OPTION: whether some launcher documents it with a word after it.
takes_value() {
  local file
  if [[ $1 == --lang ]]; then return; fi
  while read -r file; do
    if grep -q "^${1#--} ." < <(option_lines "$file"); then return; fi
  done < <(launchers)
  return 1
}

# known_to_a_step OPTION: refuse what no step asked for would heed.
known_to_a_step() {
  local step
  if [[ $1 == *=* ]] && ! takes_value "${1%%=*}"; then die "$(t "${1%%=*} takes no value" "${1%%=*} 不带值")" "${1%%=*}"; fi
  for step in "${STEPS[@]}"; do
    if knows "$(launcher "$step")" "$1"; then return; fi
  done
  die "$(t "${1%%=*} means nothing to: ${STEPS[*]}" "${STEPS[*]} 不认识 ${1%%=*}")" "bash run_all.sh --help"
}

# step NUMBER: perform one of STEPS with the options it knows.
step() {
  local name=${STEPS[$1]} script option words=() later=()
  script=$(launcher "$name")
  if [[ $script != "launch/$name.sh" ]]; then words=("$name"); fi
  for option in "${GIVEN[@]}"; do
    if knows "$script" "$option"; then words+=("$option"); fi
    if [[ $option != --force-build || " ${words[*]} " != *' --force-build '* ]]; then later+=("$option"); fi # once is enough
  done
  GIVEN=("${later[@]}")
  if (($1 == ${#STEPS[@]} - 1)); then words+=("${REST[@]}"); fi
  if ((${#STEPS[@]} == 1)) && [[ -z ${DANLU_DETACHED:-} ]]; then exec bash "$script" "${words[@]}"; fi
  attended bash "$script" "${words[@]}"
}

# steps_in_turn: perform all of STEPS, and tell how long each took; one that fails, or Ctrl-C, ends the story.
steps_in_turn() {
  local i status began
  begin_plan
  for i in "${!STEPS[@]}"; do
    say "$(t "step $((i + 1)) of ${#STEPS[@]}" "第 $((i + 1)) 步，共 ${#STEPS[@]} 步"): ${STEPS[i]}"
    status=0 began=$SECONDS
    step "$i" || status=$?
    took "${STEPS[i]}" "$began"
    if ((status >= 128)); then
      warn "$(t "${STEPS[i]} was stopped" "${STEPS[i]} 已中断")" "$(t "to go on:" 继续：) bash run_all.sh $(again "$status" "$i")"
      exit "$status"
    elif ((status > 0)); then
      warn "$(t "${STEPS[i]} ended with $status" "${STEPS[i]} 以 $status 结束")" \
        "$(t "mend it, then go on:" "修正后继续：") bash run_all.sh $(again "$status" "$i")"
      exit "$status"
    fi
  done
  if [[ ${DRY_RUN:-0} != 1 ]]; then say "$(t "all done" 全部完成): $TIMES"; fi
}

# again STATUS NUMBER: the words with which to go on from that step.
again() {
  local words=("${GIVEN[@]}")
  if (($1 >= 128)) && [[ $(launcher "${STEPS[$2]}") == launch/train.sh ]] && ! grep -qx -- --resume < <(printf '%s\n' "${words[@]}"); then
    words+=(--resume)
  fi
  words+=("${STEPS[@]:$2}" "${REST[@]}")
  printf '%q ' "${words[@]}" | sed 's/ $//'
}

# help: what run_all.sh is, and every step, preset and option that is there.
help() {
  local name file
  header run_all.sh | translated
  printf '\n%s\n' "$(t Steps 步骤)"
  while read -r file; do
    name=${file#launch/}
    entry "${name%.sh}" "$(summary "$file")"
  done < <(launchers)
  for name in $(stages); do entry "$name" "$(summary "configs/$name.yaml")"; done
  for name in core demo all; do
    if steps_of "$name" >/dev/null; then entry "$name" "= ${PRESETS[$name]}"; fi
  done
  printf '\n%s\n' "$(t Options 选项)"
  entry --dry-run "$(t "print the commands, run nothing" "只打印命令，不执行")"
  entry "--lang zh|en" "$(t "the language of what is said" "提示语言")"
  # What several steps have, in the words of the part they have it from.
  { for file in launch/{engine,weights,serving}.sh; do documented "$file"; done | translated && while read -r file; do manual "$file"; done < <(launchers); } |
    sed -nE 's/^  (--[a-z-]+( [A-Z][^ ]*)?)  +/\1\t/p' | sort -s -u -k 1,1 |
    while IFS=$'\t' read -r name file; do entry "$name" "$file"; done
}

# entry NAME TEXT: one line of a table.
entry() { printf '  %-23s %s\n' "$1" "$2"; }
