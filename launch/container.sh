# shellcheck shell=bash
# Python in a container of the image for this host's devices. Part of launch/engine.sh.
#
# The clone lies at the same place inside, and so do files that the words or links in the clone name elsewhere, and the
# folders in DANLU_MOUNTS. What is written belongs to whoever calls. Nothing is privileged; --rm and --init leave nothing
# behind. DANLU_CONTAINER_ENGINE: docker or podman; DANLU_IMAGE: another image than that of configs/matrix.yaml.

source launch/images.sh

# in_container PARTS WORDS...: Python with these words in a container.
in_container() {
  local run image name given=() words=("${@:2}") network=()
  choose_engine
  image=${DANLU_IMAGE:-$(train_image "$KIND")}
  need_image "$image"
  name=danlu-$(step_name)-$$
  reach
  mount_clone
  give_host
  if ((${#CHOSEN[@]})) && [[ $KIND != cpu ]]; then "give_$KIND" "${CHOSEN[@]}"; fi
  run=("$CONTAINERS" run --rm --init --name "$name" --label danlu=1)
  attach
  run+=("${given[@]}" "${network[@]}")
  begin_in "$image"
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    run "${run[@]}"
  else
    make_home
    explained "${run[@]}"
  fi
}

# step_name: the name of the launcher that runs.
step_name() {
  local name=${0##*/}
  echo "${name%.sh}"
}

# reach: how the container is reached. A server's port is published where it was to listen; all else shares the host's
# network, so that other hosts, servers and proxies here are found under the names they have here.
reach() {
  local i host=127.0.0.1 port=8000 kept=()
  network=(--network host)
  if [[ "${words[*]:0:3}" != '-m danlu serve' ]]; then return; fi
  for ((i = 0; i < ${#words[@]}; i++)); do
    case ${words[i]} in
      --host) host=${words[++i]} ;;
      --host=*) host=${words[i]#*=} ;;
      --port) port=${words[++i]} ;;
      --port=*) port=${words[i]#*=} ;;
      *) kept+=("${words[i]}") ;;
    esac
  done
  words=("${kept[@]}")
  publish "$host" "$port"
}

# publish HOST PORT: in `network`, that port on that address; in `words`, where the server listens inside.
publish() {
  local host=$1
  if [[ $2 == 0 ]]; then
    die "--port 0: $(t "a container's port has a number" "容器的端口须有编号")" "--port 8000, --runtime host"
  fi
  words+=(--host 0.0.0.0 --port "$2")
  if [[ $host =~ ^(127\.|localhost$|::1$) ]]; then words+=(--insecure); fi # it is published on this host alone
  if [[ $host == *:* ]]; then host="[$host]"; fi
  network=(--publish "${host/localhost/127.0.0.1}:$2:$2")
}

# mount_clone: in `given`, the clone and what lies elsewhere, at the same places, and a home for whoever calls.
mount_clone() {
  local place places=()
  for place in ${DANLU_MOUNTS:-}; do
    if [[ ! -e $place ]]; then die "DANLU_MOUNTS: $(t "there is no $place" "没有 $place")" "DANLU_MOUNTS='/data /scratch'"; fi
  done
  if [[ $PWD == *:* ]]; then die "$PWD: $(t "a container cannot have a ':' in a path" "容器路径不能含「:」")" --runtime\ host; fi
  given+=(--volume "$PWD:$PWD" --workdir "$PWD" --env "PYTHONPATH=$PWD/src" --env "HOME=$PWD/.container")
  mapfile -t places < <(elsewhere | sort -u)
  for place in "${places[@]}"; do given+=(--volume "$place:$place"); done
  pass_settings
}

# elsewhere: what the words, the clone's links, caches and DANLU_MOUNTS name outside the clone, one a line.
elsewhere() {
  local word path files listed=()
  read -ra listed <<<"${DANLU_MOUNTS:-}"
  for word in "${words[@]}"; do # KEY=FILE,FILE names two
    IFS=, read -ra files <<<"${word#*=}"
    if ((${#files[@]} > 1)); then listed+=("${files[@]}"); fi
  done
  for word in "${words[@]}" ./* "${HF_HOME:-}" "${MODELSCOPE_CACHE:-}" "${listed[@]}"; do
    path=${word#*=}
    if [[ $path == ./* && ! -L $path ]] || [[ -z $path || $path == -* ]]; then continue; fi
    if [[ ! -e $path ]]; then path=${path%/*}; fi
    if [[ $path != /* && ! -L $path && $path != ../* ]] || [[ ! -e $path ]]; then continue; fi
    path=$(realpath "$path")
    if [[ $path != / && $path/ != "$PWD"/* ]]; then printf '%s\n' "$path"; fi
  done
}

# pass_settings: in `given`, the names of the user's settings that mean something inside too; values are not shown.
pass_settings() {
  local name beginning beginnings
  read -ra beginnings <<<"$(matrix container pass)"
  for name in $(compgen -e); do
    for beginning in "${beginnings[@]}"; do
      if [[ $name == "$beginning"* ]]; then given+=(--env "$name"); fi
    done
  done
}

# give_host: in `given`, who owns what is written, the size of shared memory, and what this host's safeguards want.
give_host() {
  local least found
  if ! is_rootless; then # else root inside is whoever calls
    given+=(--user "$(id -u):$(id -g)" --volume "$PWD/.container/passwd:/etc/passwd:ro")
    give_groups
  fi
  given+=(--shm-size "$(shared_memory)")
  least=$(matrix requirements docker)
  found=$(ask_engine --version | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1) || found=''
  if [[ $CONTAINERS_ARE == docker && -n $found && $found != "$(latest "$found" "$least")" ]]; then
    given+=(--security-opt seccomp=unconfined)
  fi
  if [[ $(cat "${HOST_ROOT:-}/sys/fs/selinux/enforce" 2>/dev/null) == 1 ]]; then given+=(--security-opt label=disable); fi
}

# is_rootless: whether root in a container is whoever calls: podman of a user, docker without root or on a desktop.
is_rootless() {
  local told
  if [[ $CONTAINERS_ARE == podman ]]; then
    (($(id -u)))
  else
    told=$(ask_engine info --format '{{.SecurityOptions}} {{.OperatingSystem}}')
    [[ $told == *rootless* || ($told == *'Docker Desktop'* && $(system) != wsl) ]]
  fi
}

# latest VERSIONS...: the latest of these versions.
latest() { printf '%s\n' "$@" | sort -V | tail -n 1; }

# shared_memory: half the host's memory, as its own /dev/shm has: ranks and data loaders talk through it.
shared_memory() {
  local name amount rest megabytes=4096
  if [[ -r ${HOST_ROOT:-}/proc/meminfo ]]; then
    while read -r name amount rest; do
      if [[ $name == MemTotal: ]]; then megabytes=$((amount / 2048)); fi
    done <"${HOST_ROOT:-}/proc/meminfo"
  fi
  echo "${megabytes}m"
}

# give_groups: in `given`, the group that may use an Ascend chip's device file, where the caller only may through it.
give_groups() {
  local node group mode
  if [[ $KIND != npu ]] || (($(id -u) == 0)); then return 0; fi
  node=$(device_nodes npu | head -n 1)
  read -r group mode < <(stat -c '%g %a' "$node")
  if [[ $mode != *[67] && $group != "$(id -g)" ]]; then given+=(--group-add "$group"); fi
}

# attach: in `run`, whether it stays in the foreground, and what it hears there.
attach() {
  if [[ -n ${OPT[detach]:-} ]]; then
    run+=(--detach)
  else
    run+=(--interactive)
    # A terminal of its own only where somebody talks to it: on one, what a failure says cannot be read on the way.
    if [[ -t 0 && -t 1 && $(step_name) =~ ^(chat|shell|eval)$ ]]; then
      run+=(--tty --env TERM)
    else
      run+=(--env DANLU_TERMINAL --env COLUMNS)
    fi
  fi
}

# What is run first on Ascend: the first settings there of each of two lists, then the words that follow them.
# shellcheck disable=SC2016 # it is for a shell of its own
BEGIN='for files in "$1" "$2"; do for file in $files; do if [ -f "$file" ]; then . "$file"; break; fi; done; done; shift 2; exec "$@"'

# after_cann ARRAY: add to that array what runs the words behind it with CANN's settings.
after_cann() {
  local -n command=$1
  command+=(bash -c "$BEGIN" -- "$(matrix container_npu toolkit)" "$(matrix container_npu atb)")
}

# begin_in IMAGE: in `run`, the image and what begins in it: Python; on Ascend after CANN's settings.
begin_in() {
  local inside=()
  if [[ $KIND == npu ]]; then after_cann inside; fi
  inside+=(python3 "${words[@]}")
  run+=(--entrypoint "${inside[0]}" "$1" "${inside[@]:1}")
}

# make_home: the home inside, where caches stay between runs, and who lives there: HCCL wants a name for every user.
make_home() {
  mkdir -p .container
  printf '%s\n' "root:x:0:0:root:$PWD/.container:/bin/sh" "danlu:x:$(id -u):$(id -g)::$PWD/.container:/bin/sh" >.container/passwd
}
