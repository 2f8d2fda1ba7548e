# shellcheck shell=bash
# How the doctor looks at a host: its files, its commands, its versions. ROOT, which is HOST_ROOT, stands before
# every path, commands' included, so that another host's files, or files made up for a test, can be looked at.

ROOT=${HOST_ROOT:-}
PATIENCE=${DANLU_PATIENCE:-10} # seconds a command may take; a wedged driver lets its tool hang for ever
declare -A BEGUN=()
TOLD='' RANK=0

# file PATH: what a small file says; nothing where it cannot be read.
file() {
  if [[ -f $ROOT$1 && -r $ROOT$1 ]]; then printf '%s\n' "$(<"$ROOT$1")"; fi
}

# value KEY TEXT: what follows `KEY=` in a text of such lines, without its quotes.
value() {
  local line
  while IFS= read -r line; do
    if [[ $line == "$1="* ]]; then
      line=${line#*=} line=${line#\"}
      printf '%s\n' "${line%\"}"
      return
    fi
  done <<<"$2"
}

# command_of NAME: where a command is on that host: on the path, or where vendors put theirs.
command_of() {
  local folder IFS=: folders=$PATH:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin:/usr/lib/wsl/lib
  for folder in $folders; do
    if [[ -f $ROOT$folder/$1 && -x $ROOT$folder/$1 ]]; then
      printf '%s\n' "$ROOT$folder/$1"
      return
    fi
  done
  return 1
}

# ask NAME WORDS...: what a command of that host prints, errors too, within PATIENCE.
ask() {
  local path limit=()
  path=$(command_of "$1") || return 127
  if type -P timeout >/dev/null; then limit=(timeout --kill-after 1 "$PATIENCE"); fi
  LC_ALL=C "${limit[@]}" "$path" "${@:2}" 2>&1 </dev/null
}

# uname WORD: that host's, for launch/host.sh too.
uname() { ask uname "$1"; }

# begin NAME COMMAND...: let it run while we look elsewhere; `ended NAME` waits for it.
begin() {
  local descriptor
  exec {descriptor}< <(
    exec 2>&1 # or whoever reads our errors would wait for this too
    status=0
    "${@:2}" || status=$?
    printf '\n%s' "$status"
  )
  BEGUN[$1]=$descriptor
}

# ended NAME: wait for what was begun under that name; TOLD is what it printed, the status its own.
ended() {
  local descriptor=${BEGUN[$1]} status=0
  # Not every process can be killed; past its time, what it said so far is what there is.
  IFS= read -r -d '' -t $((PATIENCE + 2)) TOLD <&"$descriptor" || status=$?
  exec {descriptor}<&-
  if ((status > 128)); then return 124; fi
  status=${TOLD##*$'\n'} TOLD=${TOLD%$'\n'*}
  TOLD=${TOLD%$'\n'}
  return "$status"
}

# rank PART: RANK is one part of a version as a number; a candidate (rc1) comes before every release.
rank() {
  RANK=1000
  if [[ $1 =~ ^[Rr][Cc]([0-9]+) ]]; then
    RANK=$((10#${BASH_REMATCH[1]}))
  elif [[ $1 =~ ^([0-9]+) ]]; then
    RANK=$((1000 + 10#${BASH_REMATCH[1]}))
  fi
}

# older VERSION LEAST: whether it is; compared in as many parts as LEAST has, so that 25.2.rc1 is a 25.2.
older() {
  local here least i wanted
  IFS=. read -ra here <<<"$1"
  IFS=. read -ra least <<<"$2"
  for i in "${!least[@]}"; do
    rank "${least[i]}"
    wanted=$RANK
    rank "${here[i]:-0}"
    if ((RANK != wanted)); then return "$((RANK > wanted))"; fi
  done
  return 1
}

# minor VERSION: its first two parts.
minor() { [[ $1 =~ ^[0-9]+(\.[0-9]+)? ]] && printf '%s\n' "${BASH_REMATCH[0]}"; }

# pinned SECTION KEY: matrix SECTION KEY, or nothing where that is not there.
pinned() { (matrix "$1" "$2" 2>/dev/null) || return 0; }

# size KILOBYTES: as gigabytes with one digit.
size() { printf '%s.%s GB\n' "$(($1 / 1048576))" "$(($1 % 1048576 * 10 / 1048576))"; }

# free PATH: kilobytes free where that path lies.
free() { df_field 4 "$1"; }

# df_field NUMBER PATH: one field of what df says of a path: 2 all of it, 4 what is free.
df_field() {
  local text fields
  text=$(ask df -Pk "$ROOT$2") || return 0
  read -ra fields <<<"${text##*$'\n'}"
  if [[ ${fields[$1 - 1]:-} =~ ^[0-9]+$ ]]; then printf '%s\n' "${fields[$1 - 1]}"; fi
}

# mounted PATH: the file system and the options of what is mounted where that path lies.
mounted() {
  local point kind options rest best='' found=''
  while read -r _ point kind options rest; do
    if [[ $1/ == "${point%/}"/* && ${#point} -ge ${#best} ]]; then best=$point found="$kind $options"; fi
  done < <(file /proc/mounts)
  printf '%s\n' "$found"
}

# open_by PATTERN: "PID FILE" for every file open on that host whose name holds the pattern.
open_by() {
  local line pid=''
  # shellcheck disable=SC2010 # what a link points at, of thousands at once, is what ls says fastest
  while IFS= read -r line; do
    if [[ $line =~ /proc/([0-9]+)/fd:$ ]]; then
      pid=${BASH_REMATCH[1]}
    else
      printf '%s %s\n' "$pid" "${line##* -> }"
    fi
  done < <(LC_ALL=C ls -l "$ROOT"/proc/[0-9]*/fd 2>/dev/null | grep -E "^/.*/fd:\$| -> .*$1")
}

# process PID: its name; where it is a container's, the container too.
process() {
  local name groups
  name=$(file "/proc/$1/comm")
  groups=$(file "/proc/$1/cgroup")
  printf '%s' "${name:-?}"
  if [[ $groups =~ (docker|libpod|containerd)[-/]([0-9a-f]{12}) ]]; then
    printf ' (%s %s)' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
  fi
}
