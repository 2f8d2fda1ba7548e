# shellcheck shell=bash
# What a launcher's header says, as its help and as its options. Part of launch/lib.sh.
#
#   --a-name            a switch                    OPT[a_name]=1
#   --a-name WORD       with a value                OPT[a_name]=WORD
#   --a-name WORD...    may be repeated             OPT[a_name], one a line
#   ...                 takes words of its own      WORDS
#
# A line in Chinese there translates the line above it. A launcher also has the options of the parts it
# sources (launch/engine.sh and others): those of their headers.

declare -A OPT=()
declare -a WORDS=()

# header FILE: the comment at the top of a launcher or a configuration, without the '#'.
header() {
  local line
  while IFS= read -r line && [[ $line == '#'* ]]; do
    if [[ $line != '#!'* && $line != '# shellcheck'* ]]; then
      line=${line#'#'}
      printf '%s\n' "${line# }"
    fi
  done <"$1"
}

# translated: text from standard input without its translations, or with them in place of what they translate.
translated() {
  local LC_ALL=C line left='' held=() done=0 columns='^(  .*[^ ]  +)[^ ]'
  while IFS= read -r line; do
    if [[ $line == *[!\ -~]* ]]; then # not ASCII: a translation, of all the lines before it that belong together
      if [[ $DANLU_LANG == zh ]]; then
        if ((done)); then held+=("$line"); else held=("$left${line#"${line%%[! ]*}"}"); fi
      fi
      done=1
      continue
    fi
    if [[ $line != '      '* || $done == 1 ]] && ((${#held[@]})); then
      printf '%s\n' "${held[@]}"
      held=()
    fi
    if ((${#held[@]} == 0)); then
      left=''
      if [[ $line =~ $columns ]]; then left=${BASH_REMATCH[1]}; fi
    fi
    held+=("$line") done=0
  done
  if ((${#held[@]})); then printf '%s\n' "${held[@]}"; fi
}

# summary FILE: its first line of help.
summary() {
  local line=''
  IFS= read -r line < <(header "$1" | translated)
  printf '%s\n' "$line"
}

# parts FILE: the parts whose options a launcher has too, one a line.
parts() {
  local line part='^source (launch/[a-z]+\.sh)'
  while IFS= read -r line; do
    if [[ $line =~ $part && ${BASH_REMATCH[1]} != launch/lib.sh ]]; then printf '%s\n' "${BASH_REMATCH[1]}"; fi
  done <"$1"
}

# documented FILE: the lines of its header that tell of options, with their translations.
documented() {
  local line kept=0
  while IFS= read -r line; do
    if [[ $line == '  --'* ]]; then kept=1; elif [[ $line != '      '* ]]; then kept=0; fi
    if ((kept)); then printf '%s\n' "$line"; fi
  done < <(header "$1")
}

# manual FILE: the whole help of a launcher.
manual() {
  local part
  header "$1" | translated
  for part in $(parts "$1"); do documented "$part" | translated; done
}

# option_lines FILE: "name WORD" for every option it documents; "rest" for words of its own.
option_lines() {
  local line part option='^  (--([a-z-]+)|\.\.\.)( ([A-Z][^ ]*))?(  |$)'
  while IFS= read -r line; do
    if [[ $line =~ $option ]]; then
      printf '%s %s\n' "${BASH_REMATCH[2]:-rest}" "${BASH_REMATCH[4]}"
    fi
  done < <(header "$1" && for part in $(parts "$1"); do documented "$part"; done)
}

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
    elif [[ $1 == *=* ]]; then
      if [[ -z ${takes[$name]} ]]; then die "$(t "${1%%=*} takes no value" "${1%%=*} 不带值")" "${1%%=*}"; fi
      value=${1#*=}
    elif [[ -n ${takes[$name]} ]]; then
      if [[ ${2:---} == --* ]]; then die "$(t "$1 wants a value" "$1 需要一个值")" "$1 ${takes[$name]}"; fi
      value=$2
      shift
    fi
    shift
    keep_option "$name" "$value" "${takes[$name]}"
  done
  # shellcheck disable=SC2034 # for accelerator
  if [[ -n ${OPT[device]:-} ]]; then ACCELERATOR=${OPT[device]}; fi
  begin_plan
}

# check_option NAME VALUE: refuse at once what would be refused only where it is needed, after minutes of other steps.
check_option() {
  case $1 in
    device) ACCELERATOR=$2 accelerator >/dev/null ;;
    runtime) if [[ $2 != @(host|docker) ]]; then die "--runtime $2?" "--runtime host, --runtime docker"; fi ;;
  esac
}

# keep_option NAME VALUE WORD: heed what every launcher has, keep the rest in OPT. (`file`: the launcher's.)
keep_option() {
  check_option "$1" "$2"
  case $1 in
    help)
      manual "$file"
      exit
      ;;
    lang) language "$2" ;;
    dry_run) export DRY_RUN=1 ;;
    offline) export HF_HUB_OFFLINE=1 && OPT[$1]=$2 ;; # no hub is asked either
    *) if [[ $3 == *... ]]; then OPT[$1]+=$2$'\n'; else OPT[$1]=$2; fi ;;
  esac
}
