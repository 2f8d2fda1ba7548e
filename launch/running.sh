# shellcheck shell=bash
# What of this clone runs: servers, processes, containers. Part of launch/status.sh, stop.sh, logs.sh and clean.sh.
#
# `find_running` fills THINGS with one line each: what it is, its id, and what it is called, blanks between.

source launch/images.sh
source launch/makes.sh

THINGS=()
SERVERS=() # PORT PID NAME STATE-AND-LOG, as danlu vllm status tells it

# find_running: all of it, in THINGS.
find_running() {
  local line pids=' ' port pid name rest
  THINGS=()
  choose_engine
  find_servers
  for line in "${SERVERS[@]}"; do
    IFS=$'\t' read -r port pid name rest <<<"$line"
    if [[ $rest != 'has ended'* ]]; then THINGS+=("server $port $name"); fi
    pids+="$pid "
  done
  while read -r pid rest; do
    if [[ $pids != *" $pid "* ]]; then THINGS+=("process $pid $rest"); fi
  done < <(processes)
  while read -r line; do THINGS+=("container $line"); done < <(containers)
}

# find_servers: those that danlu vllm knows of, in SERVERS; none where nothing is set up yet.
find_servers() {
  local line told='^ *"(name|state|pid|log|url)": "?([^"]*[^",])"?,?$' name='' state='' pid='' url=''
  SERVERS=()
  if [[ ! -x .venv/bin/python ]]; then return; fi
  while IFS= read -r line; do
    if [[ ! $line =~ $told ]]; then continue; fi
    case ${BASH_REMATCH[1]} in
      name) name=${BASH_REMATCH[2]} ;;
      url) url=${BASH_REMATCH[2]} ;;
      state) state=${BASH_REMATCH[2]} ;;
      pid) pid=${BASH_REMATCH[2]} ;;
      log) SERVERS+=("${url##*:}"$'\t'"$pid"$'\t'"$name"$'\t'"$state"$'\t'"${BASH_REMATCH[2]}") ;;
    esac
  done < <(.venv/bin/python -m danlu vllm status --json 2>/dev/null)
}

# processes: "PID COMMAND" of every command of ours that works in this clone, one a line; not those they began.
processes() {
  local pid parent words every found
  local -A parents=() ours=()
  every=$(all_processes)
  found=$(commands <<<"$every")
  while read -r pid parent words; do parents[$pid]=$parent; done <<<"$every"
  while read -r pid words; do ours[${pid:-0}]=1; done <<<"$found"
  while read -r pid words; do
    parent=${parents[${pid:-0}]:-}
    while [[ -n $parent && -z ${ours[$parent]:-} ]]; do parent=${parents[$parent]:-}; done
    if [[ -n $pid && -z $parent ]]; then printf '%s %s\n' "$pid" "$words"; fi
  done <<<"$found"
}

# commands: "PID COMMAND" of every process of ours among those told of as "PID PARENT WORDS": Python's, and detached stories.
commands() {
  local pid parent words
  local python='python.* -m ((danlu (train|serve|chat|eval|data|tokenizer)|convert|pytest|bench\.[a-z]+)( .*)?)$'
  local story='^bash (run_all\.sh --detached .*)$'
  while read -r pid parent words; do
    if [[ $words =~ $python || $words =~ $story ]] && works_here "$pid"; then
      printf '%s %s\n' "$pid" "${BASH_REMATCH[1]}"
    fi
  done
}

# all_processes: "PID PARENT WORDS" of every process that can be seen, from /proc, else from ps.
all_processes() {
  local folder words=() state
  if [[ ! -r /proc/self/cmdline ]]; then
    ps -axo pid=,ppid=,command=
    return
  fi
  for folder in /proc/[0-9]*; do
    # One that ends meanwhile is none.
    if ! { mapfile -d '' -t words <"$folder/cmdline" && IFS= read -r state <"$folder/stat"; } 2>/dev/null; then continue; fi
    state=${state##*) } # its state, its parent...
    read -r _ state _ <<<"$state"
    printf '%s %s %s\n' "${folder#/proc/}" "$state" "${words[*]//$'\n'/ }"
  done
}

# kill_tree PID: end it and all that it began at once; these have groups of their own. One that is gone meanwhile is ended.
kill_tree() {
  local pid parent rest
  kill -s STOP "$1" 2>/dev/null || return 0 # so that it begins nothing more
  while read -r pid parent rest; do
    if [[ $parent == "$1" ]]; then kill_tree "$pid"; fi
  done < <(all_processes)
  kill -s KILL "$1" 2>/dev/null || return 0
}

# works_here PID: whether that process's folder is this clone. One that may not be looked into is somebody else's; one in
# a container is told of as such.
works_here() {
  local folder
  if [[ -d /proc/self ]]; then
    if [[ ! /proc/$1/ns/pid -ef /proc/self/ns/pid ]]; then return 1; fi
    folder=$(readlink "/proc/$1/cwd") || return 1
  else
    folder=$(lsof -a -p "$1" -d cwd -Fn 2>/dev/null | sed -n 's/^n//p')
  fi
  [[ $folder == "$(pwd -P)" ]]
}

# containers: "NAME STATE" of every container of this clone, one a line; nothing where there is no engine.
containers() {
  ask_engine ps --filter label=danlu=1 --filter "volume=$PWD" --format '{{.Names}} {{.Status}} {{.Ports}}'
}

# runs: the folders of training runs, the newest first, one a line.
runs() {
  local file files=()
  for file in runs/*/metrics.jsonl runs/*/*/metrics.jsonl; do
    if [[ -f $file ]]; then files+=("$file"); fi
  done
  if ((${#files[@]} == 0)); then return; fi
  # shellcheck disable=SC2012 # nothing else sorts by time alike on Linux and macOS
  ls -t -- "${files[@]}" | while IFS= read -r file; do printf '%s\n' "${file%/metrics.jsonl}"; done
}

# state_of RUN: trains, finished or stopped.
state_of() {
  local holder='process ([0-9]+) on (.*)' line='' file
  if [[ -r $1/.lock ]]; then IFS= read -r line <"$1/.lock" || line=''; fi
  if [[ $line =~ $holder && ${BASH_REMATCH[2]} == "$(uname -n)" ]] && is_training "${BASH_REMATCH[1]}"; then
    t trains 训练中
    return
  fi
  for file in out/*/run.json; do
    if [[ -f $file && $(told "$file" run_dir) == "$1" ]]; then
      t "finished, in ${file%/run.json}" "已完成：${file%/run.json}"
      return
    fi
  done
  t stopped 已停止
}

# is_training PID: whether that process is one of ours that trains.
is_training() { grep -q "^$1 danlu train" < <(all_processes | commands); }

# last_numbers RUN: what its last step measured, as a person reads it.
last_numbers() {
  local line number key said=''
  line=$(tail -n 1 "$1/metrics.jsonl")
  for key in step loss valid_loss tokens_per_s; do
    number="\"$key\": ([0-9.e+-]+)"
    if [[ $line =~ $number ]]; then said+="${said:+  }${key//_per_/\/} ${BASH_REMATCH[1]:0:7}"; fi
  done
  printf '%s' "$said"
}
