# shellcheck shell=bash
# What every launcher shares: words, options, and what this host is. A launcher begins with
#
#   set -Eeuo pipefail
#   cd "$(dirname "${BASH_SOURCE[0]}")/.."
#   source launch/lib.sh
#
# Its header comment is its help, and the option lines in it are its options (launch/options.sh).

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  printf 'error: this is bash %s; 4.4 or newer is needed / 需要 bash 4.4 以上\n' "$BASH_VERSION" >&2
  printf '  try: macOS: brew install bash; elsewhere: your package manager\n' >&2
  exit 2
fi

# language [zh|en]: decide in which language to speak: the word, else DANLU_LANG, else the locale.
language() {
  if [[ -n ${1:-} && $1 != zh* && $1 != en* ]]; then die "--lang $1?" "--lang zh, --lang en"; fi
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

source launch/options.sh
source launch/host.sh

# matrix SECTION: its lines of configs/matrix.yaml as "key value"; matrix SECTION KEY: that value.
matrix() {
  local line here=0 found=0 entry='^  ([A-Za-z0-9_.-]+): "?([^"]*)"?$'
  while IFS= read -r line; do
    if [[ $line == [a-z]* ]]; then
      if ((here)); then break; fi
      if [[ $line == "$1:" ]]; then here=1; fi
    elif ((here)) && [[ $line =~ $entry ]]; then
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
    if grep -q '^stage:' "$file"; then
      file=${file##*/}
      printf '%s\n' "${file%.yaml}"
    fi
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

# stamp PART: what an environment's part was made from, as one number; another number, and it is made again.
stamp() {
  local packages='torch|ascend|private|packages|beneath|python_3_10'
  { sed -nE "/^($packages):/,/^\$/{/./p;}" configs/matrix.yaml && cat pyproject.toml && printf '%s\n' "$PWD" "$1"; } | cksum
}

# ready FOLDER PART...: whether that environment is there, with these parts, made from the present files.
ready() {
  local folder=$1 part
  if [[ $1 == .venv && -n ${DANLU_PYTHON:-} ]]; then return; fi # another Python, made elsewhere, as an image's is
  for part in "${@:2}"; do
    if [[ ! -x $folder/bin/python || ! -f $folder/ready-$part ]]; then return 1; fi
    if [[ $(<"$folder/ready-$part") != "$(stamp "$part")" ]]; then return 1; fi
  done
}

# need_writable PLACES...: refuse places that cannot be written, before any work is done for them.
need_writable() {
  local place there
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  for place in "$@"; do
    there=$place
    while [[ ! -e $there ]]; do there=$(dirname -- "$there"); done
    if [[ -w $there ]]; then
      continue
    elif [[ -O $there ]]; then
      die "$(t "$place cannot be written" "$place 不可写")" "$(t "copy the clone to a folder of yours" "把仓库复制到自己的目录")"
    fi
    die "$(t "$place cannot be written: it belongs to $(owner "$there")" "$place 不可写：它属于 $(owner "$there")")" \
      "sudo chown -R $(id -un) $there; $(t "or copy the clone to a folder of yours" "或把仓库复制到自己的目录")"
  done
}

# owner PLACE: whose it is.
owner() { stat -c %U -- "$1" 2>/dev/null || stat -f %Su -- "$1"; }

CHILD='' STOPPED=0

# attended COMMAND...: run it as a child that is told to end when we are, once; then our status says that we were.
attended() {
  local name status=0
  local -A heard=([HUP]=129 [INT]=130 [TERM]=143)
  CHILD='' STOPPED=0
  for name in "${!heard[@]}"; do
    # What whoever began us ignores, as for work in the background, stays ignored: to reset it would end us unheard.
    # shellcheck disable=SC2064 # it is meant to be read now
    if [[ $(trap -p "$name") == "trap -- ''"* ]]; then unset "heard[$name]"; else trap "hand_on $name ${heard[$name]}" "$name"; fi
  done
  # A terminal's Ctrl-C reaches it by itself; elsewhere it has a group of its own, and hears of it from us.
  if [[ ! -t 0 ]]; then set -m; fi
  (trap - INT QUIT TERM HUP && exec "$@") <&0 &
  CHILD=$!
  set +m
  if ((STOPPED)); then hand_on TERM "$STOPPED"; fi
  while true; do
    status=0
    wait "$CHILD" 2>/dev/null || status=$?
    if ! kill -s 0 "$CHILD" 2>/dev/null; then break; fi
  done
  CHILD=''
  for name in "${!heard[@]}"; do trap - "$name"; done
  if ((STOPPED)); then return "$STOPPED"; fi
  return "$status"
}

# hand_on SIGNAL STATUS: let the attended child hear it too, with all of its group.
hand_on() {
  STOPPED=$2
  if [[ -z $CHILD ]]; then return; fi
  if [[ ! -t 0 ]]; then kill -s "$1" -- "-$CHILD"; elif [[ $1 != INT ]]; then kill -s "$1" "$CHILD"; fi
}

# need_environment PART...: the trainer's environment with these parts (base, and extras); made if it is not there.
need_environment() {
  local part name arguments=()
  if ready .venv "$@" || planned "$@"; then return; fi
  for part in "$@"; do
    if [[ $part != base ]]; then arguments+=(--extra "$part"); fi
  done
  for name in mirror offline; do
    if [[ -n ${OPT[$name]:-} ]]; then arguments+=("--$name"); fi
  done
  if [[ -n ${OPT[device]:-} ]]; then arguments+=(--device "${OPT[device]}"); fi
  attended bash launch/setup.sh "${arguments[@]}"
  would_make "$@"
}

# begin_plan: in a dry run, a file in which steps tell each other what would be there by then; gone with us.
begin_plan() {
  if [[ ${DRY_RUN:-0} != 1 || -n ${DANLU_PLAN:-} ]]; then return; fi
  DANLU_PLAN=$(mktemp "${TMPDIR:-/tmp}/danlu.XXXXXX")
  export DANLU_PLAN
  trap 'rm -f -- "$DANLU_PLAN"' EXIT
}

# would_make THINGS...: note in a dry run that they would be there from here on.
would_make() {
  if [[ ${DRY_RUN:-0} == 1 ]]; then printf '%s\n' "$@" >>"${DANLU_PLAN:-/dev/null}"; fi
}

# planned THINGS...: whether all of them would be there by now.
planned() {
  local thing
  for thing in "$@"; do
    if ! grep -qxF -- "$thing" "${DANLU_PLAN:-/dev/null}"; then return 1; fi
  done
}

TIMES=''

# timed NAME COMMAND...: run it, and add to TIMES how long it took. (Not in an `if` or `||`: bash would go on after errors.)
timed() {
  local began=$SECONDS
  "${@:2}"
  took "$1" "$began"
}

# took NAME BEGAN: add to TIMES how long that took, begun at so many SECONDS.
took() { TIMES+="${TIMES:+; }$1 $(duration $((SECONDS - $2)))"; }

# duration SECONDS: as a person says it.
duration() {
  if (($1 < 100)); then printf '%d s\n' "$1"; else printf '%d:%02d min\n' $(($1 / 60)) $(($1 % 60)); fi
}
