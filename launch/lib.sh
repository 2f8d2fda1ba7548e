# shellcheck shell=bash
# What every launcher shares: words, options, and what this host is. A launcher begins with
#
#   set -Eeuo pipefail
#   cd "$(dirname "${BASH_SOURCE[0]}")/.."
#   source launch/lib.sh
#
# Its header comment is its help, and the option lines in it are its options:
#
#   --a-name            a switch                    OPT[a_name]=1
#   --a-name WORD       with a value                OPT[a_name]=WORD
#   --a-name WORD...    may be repeated             OPT[a_name], one a line
#   ...                 takes words of its own      WORDS
#
# A line in Chinese there translates the line above it.

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  printf 'error: this is bash %s; 4.4 or newer is needed / 需要 bash 4.4 以上\n' "$BASH_VERSION" >&2
  printf '  try: macOS: brew install bash; elsewhere: your package manager\n' >&2
  exit 2
fi

# language [zh|en]: decide in which language to speak: the word, else DANLU_LANG, else the locale.
language() {
  case ${1:-${DANLU_LANG:-${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}}} in
    zh*) export DANLU_LANG=zh ;;
    *) export DANLU_LANG=en ;;
  esac
}
language

# t ENGLISH CHINESE: the one in the user's language.
t() { if [[ $DANLU_LANG == zh ]]; then printf '%s' "$2"; else printf '%s' "$1"; fi; }

# say TEXT: what is being done, to standard error, so that a pipe stays clean.
say() { printf '==> %s\n' "$1" >&2; }

# warn PROBLEM [HINT]: what will be missing, then what would mend it.
warn() {
  printf '%s: %s\n' "$(t note 提示)" "$1" >&2
  if [[ -n ${2:-} ]]; then printf '  %s: %s\n' "$(t try 试试)" "$2" >&2; fi
}

# die PROBLEM [HINT]: what is wrong, then what to do about it.
die() {
  printf '%s: %s\n' "$(t error 错误)" "$1" >&2
  if [[ -n ${2:-} ]]; then printf '  %s: %s\n' "$(t try 试试)" "$2" >&2; fi
  exit 2
}

# run COMMAND...: run it; with DRY_RUN=1 print it instead, quoted so that it pastes back.
run() {
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}

# become COMMAND...: like run, in this shell's place, so that signals reach the command itself.
become() {
  if [[ ${DRY_RUN:-0} == 1 ]]; then run "$@"; else exec "$@"; fi
}

# header FILE: the comment at the top of a launcher or a configuration, without the '#'.
header() {
  local line
  while IFS= read -r line && [[ $line == '#'* ]]; do
    if [[ $line != '#!'* ]]; then
      line=${line#'#'}
      printf '%s\n' "${line# }"
    fi
  done <"$1"
}

# translated: text from standard input without its translations, or with them in place of what they translate.
translated() {
  local LC_ALL=C line left='' held='' any=0 columns='^(  .*[^ ]  +)[^ ]'
  while IFS= read -r line; do
    if [[ $line == *[!\ -~]* ]]; then # not ASCII: a translation
      if [[ $DANLU_LANG == zh ]]; then held=$left${line#"${line%%[! ]*}"}; fi
      continue
    fi
    if ((any)); then printf '%s\n' "$held"; fi
    left=''
    if [[ $line =~ $columns ]]; then left=${BASH_REMATCH[1]}; fi
    held=$line any=1
  done
  if ((any)); then printf '%s\n' "$held"; fi
}

# summary FILE: its first line of help.
summary() {
  local line=''
  IFS= read -r line < <(header "$1" | translated)
  printf '%s\n' "$line"
}

# option_lines FILE: "name WORD" for every option its header documents; "rest" for words of its own.
option_lines() {
  local line option='^  (--([a-z-]+)|\.\.\.)( ([A-Z][^ ]*))?(  |$)'
  while IFS= read -r line; do
    if [[ $line =~ $option ]]; then
      printf '%s %s\n' "${BASH_REMATCH[2]:-rest}" "${BASH_REMATCH[4]}"
    fi
  done < <(header "$1")
}

source launch/host.sh

declare -A OPT=()
declare -a WORDS=()

# options FILE ARGUMENTS...: fill OPT and WORDS as the header of FILE allows; --dry-run, --lang and
# --help every launcher has.
options() {
  local file=$1 name value
  OPT=() WORDS=()
  local -A takes=([dry_run]='' [help]='' [lang]=WORD)
  while read -r name value; do takes[${name//-/_}]=$value; done < <(option_lines "$file")
  shift
  while (($# > 0)); do
    name=${1#--} value=1
    name=${name%%=*}
    name=${name//-/_}
    if [[ $1 == -- ]]; then
      WORDS+=("${@:2}")
      break
    elif [[ $1 != --* || -z ${takes[$name]+known} ]]; then
      if [[ -z ${takes[rest]+known} ]]; then
        die "$(t "'$1' means nothing here" "这里不认识「$1」")" "bash $file --help"
      fi
      WORDS+=("$1")
      shift
      continue
    elif [[ -n ${takes[$name]} && $1 == *=* ]]; then
      value=${1#*=}
    elif [[ -n ${takes[$name]} ]]; then
      if (($# < 2)); then die "$(t "$1 wants a value" "$1 需要一个值")" "$1 ${takes[$name]}"; fi
      value=$2
      shift
    fi
    shift
    case $name in
      help)
        header "$file" | translated
        exit
        ;;
      lang) language "$value" ;;
      dry_run) export DRY_RUN=1 ;;
      *) if [[ ${takes[$name]} == *... ]]; then OPT[$name]+=$value$'\n'; else OPT[$name]=$value; fi ;;
    esac
  done
  if [[ -n ${OPT[device]:-} ]]; then ACCELERATOR=${OPT[device]}; fi
}

# matrix SECTION: its lines of configs/matrix.yaml as "key value"; matrix SECTION KEY: that value.
matrix() {
  local line section='' found=0 head='^([a-z0-9_]+):$' entry='^  ([A-Za-z0-9_.-]+): "?([^"]*)"?$'
  while IFS= read -r line; do
    if [[ $line =~ $head ]]; then
      section=${BASH_REMATCH[1]}
    elif [[ $section == "$1" && $line =~ $entry ]]; then
      if (($# == 1)); then
        printf '%s %s\n' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
        found=1
      elif [[ ${BASH_REMATCH[1]} == "$2" ]]; then
        printf '%s\n' "${BASH_REMATCH[2]}"
        return
      fi
    fi
  done <configs/matrix.yaml
  if ((! found)); then die "configs/matrix.yaml: $*: $(t "is not there" "不存在")"; fi
}

# stages: the training stages that have a configuration, one a line.
stages() {
  local file
  for file in configs/*.yaml; do
    file=${file##*/}
    if [[ $file != matrix.yaml && -e configs/$file ]]; then printf '%s\n' "${file%.yaml}"; fi
  done
}

# stage NAME: the stage meant by a name, older names included.
stage() {
  case $1 in
    full_sft) echo sft ;;
    distillation) echo distill ;;
    *) printf '%s\n' "$1" ;;
  esac
}

# weights [NAME]: the folder of finished weights a name means, sized by --hidden-size and --use-moe;
# without a name the newest that was trained: an export has a serve.json.
weights() {
  local folder name=${1:-} newest=''
  if [[ -n $name ]]; then
    for folder in "$name" "out/$name" "out/${name}_${OPT[hidden_size]:-512}${OPT[use_moe]:+_moe}"; do
      if [[ -f $folder/config.json ]]; then newest=$folder; fi
    done
  else
    for folder in out/*/; do
      if [[ -f $folder/config.json && ! -f $folder/serve.json && (-z $newest || $folder -nt $newest) ]]; then newest=${folder%/}; fi
    done
  fi
  if [[ -z $newest && ${DRY_RUN:-0} == 1 ]]; then
    if [[ -n $name ]]; then newest=$folder; else newest=out/NAME; fi
  elif [[ -z $newest ]]; then
    die "$(t "no finished weights '${name:-out/*}' here" "这里没有训练好的权重「${name:-out/*}」")" \
      "bash run_all.sh train $(stage "${name:-pretrain}") data.train=FILE.jsonl"
  fi
  printf '%s\n' "$newest"
}

# stamp PART: what an environment's part was made from, as one number; another number, and it is made again.
stamp() {
  { cat pyproject.toml configs/matrix.yaml && printf '%s\n' "$PWD" "$1"; } | cksum
}

# ready FOLDER PART...: whether that environment is there, with these parts, made from the present files.
ready() {
  local folder=$1 part
  for part in "${@:2}"; do
    if [[ ! -x $folder/bin/python || ! -f $folder/ready-$part ]]; then return 1; fi
    if [[ $(<"$folder/ready-$part") != "$(stamp "$part")" ]]; then return 1; fi
  done
}

# need_environment PART...: the trainer's environment with these parts (base, and extras); made if it is not there.
need_environment() {
  local part arguments=()
  if ready .venv "$@"; then return; fi
  for part in "$@"; do
    if [[ $part != base ]]; then arguments+=(--extra "$part"); fi
  done
  bash launch/setup.sh "${arguments[@]}"
}
