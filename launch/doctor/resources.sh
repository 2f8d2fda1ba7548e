# shellcheck shell=bash
# What a host has to give: memory, processors and their instructions, disk, shared memory, the port.

# look_resources: what this host has.
look_resources() {
  look_memory
  look_processors
  look_instructions
  look_disk
  if [[ $KIND != cpu ]]; then look_shm; fi
  look_port
  look_clone
}

# look_memory: all of it, and what a container's limit leaves.
look_memory() {
  local total limit
  total=$(memory_here)
  limit=$(memory_limit)
  if [[ -z $total ]]; then return; fi
  if ((limit > 0 && limit < total)); then
    note memory-limit "a limit leaves $(size "$limit") of $(size "$total")" "内存 $(size "$total")，限额只有 $(size "$limit")" \
      "raise the container's limit (docker run --memory) where that is too little" "如不够用，请调大容器的内存限额（docker run --memory）"
    total=$limit
  fi
  if ((total < $(matrix requirements memory) * 1048576 * 9 / 10)); then # what firmware keeps is not counted
    problem memory-small "$(size "$total") of memory; $(matrix requirements memory) GB are needed" \
      "内存 $(size "$total")，至少需要 $(matrix requirements memory) GB" \
      "a larger host; in WSL: memory=8GB below [wsl2] in %UserProfile%\\.wslconfig" \
      "换用更大的主机；WSL 可在 %UserProfile%\\.wslconfig 的 [wsl2] 下写 memory=8GB"
  else
    ok memory "$(size "$total") of memory" "内存 $(size "$total")"
  fi
}

# memory_here: the host's memory in kilobytes.
memory_here() {
  local text
  text=$(file /proc/meminfo)
  if [[ $text =~ MemTotal:[[:space:]]+([0-9]+) ]]; then
    printf '%s\n' "${BASH_REMATCH[1]}"
  elif text=$(ask sysctl -n hw.memsize) && [[ $text =~ ^[0-9]+$ ]]; then
    printf '%s\n' "$((text / 1024))"
  fi
}

# memory_limit: the limit of the control group in kilobytes; 0 where there is none.
memory_limit() {
  local text path
  for path in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    text=$(file "$path")
    if [[ $text =~ ^[0-9]{1,18}$ ]]; then
      printf '%s\n' "$((text / 1024))"
      return
    fi
  done
  printf '0\n'
}

# look_processors: how many a limit leaves; torch would begin a thread for each that it sees.
look_processors() {
  local quota period text seen
  seen=$(grep -c '^processor' "$ROOT/proc/cpuinfo" 2>/dev/null) || return 0
  text=$(file /sys/fs/cgroup/cpu.max)
  read -r quota period <<<"${text:-$(file /sys/fs/cgroup/cpu/cpu.cfs_quota_us) $(file /sys/fs/cgroup/cpu/cpu.cfs_period_us)}"
  if [[ ! $quota =~ ^[0-9]+$ || ! $period =~ ^[1-9][0-9]*$ ]] || ((quota >= seen * period)); then return; fi
  quota=$(((quota + period - 1) / period))
  note processors-limit "a limit leaves $quota of $seen processors" "共 $seen 个处理器，限额为 $quota 个" \
    "export OMP_NUM_THREADS=$quota, or raise the limit (docker run --cpus)" \
    "export OMP_NUM_THREADS=$quota，或调大限额（docker run --cpus）"
}

# look_instructions: what the processor computes with, and whether vLLM has a build for it.
look_instructions() {
  local line flags='' flag have=''
  if [[ ! -r $ROOT/proc/cpuinfo ]]; then return; fi
  while IFS= read -r line; do
    if [[ $line =~ ^(flags|Features)[[:space:]]*: ]]; then
      flags=" ${line#*:} "
      break
    fi
  done <"$ROOT/proc/cpuinfo"
  for flag in avx2 avx512f avx512_bf16 amx_bf16 asimd sve bf16; do
    if [[ $flags == *" $flag "* ]]; then have+=${have:+ }$flag; fi
  done
  flag=$(matrix vllm x86_64_needs)
  if [[ $MACHINE == x86_64 && $flags != *" $flag "* ]]; then
    note processor-no-avx2 "this processor lacks ${flag^^}, which vLLM needs" "处理器没有 vLLM 需要的 ${flag^^} 指令" \
      "nothing to do: serve uses the built-in server" "无需处理：serve 会使用内置服务器"
  else
    ok processor "instructions: ${have:-none of note}" "指令集：${have:-无特别指令}"
  fi
}

# look_disk: whether the environment has room, and images where containers are kept.
look_disk() {
  local free needs
  free=$(free "$PWD")
  needs=$(matrix requirements "disk_$KIND")
  if [[ -z $free ]]; then return; fi
  if [[ -f $ROOT$PWD/.venv/ready-base ]]; then needs=$(matrix requirements disk_least); fi
  if ((free < $(matrix requirements disk_least) * 1048576)); then
    problem disk-full "$(size "$free") left on the clone's disk" "仓库所在磁盘只剩 $(size "$free")" \
      "free some: old runs in out/, pip cache purge, docker system prune" "清理空间：out/ 中的旧训练、pip cache purge、docker system prune"
  elif ((free < needs * 1048576)); then
    problem disk-small "$(size "$free") left on the clone's disk; setting up takes $needs GB" "仓库所在磁盘剩 $(size "$free")，安装需要 $needs GB" \
      "free some, or move the clone to a larger disk" "清理空间，或把仓库移到更大的磁盘"
  else
    ok disk "$(size "$free") free on the clone's disk" "仓库所在磁盘剩余 $(size "$free")"
  fi
}

# look_shm: what processes of one host pass each other.
look_shm() {
  local all
  all=$(df_field 2 /dev/shm)
  if [[ -z $all ]]; then return; fi
  if ((all < $(matrix requirements shm) * 1048576)); then
    problem shm-small "/dev/shm holds $(size "$all"): several cards cannot talk through it" "/dev/shm 只有 $(size "$all")：多卡通信不够用" \
      "sudo mount -o remount,size=50% /dev/shm; inside a container: docker run --shm-size 16g" \
      "sudo mount -o remount,size=50% /dev/shm；容器内：docker run --shm-size 16g"
  else
    ok shm "/dev/shm holds $(size "$all")" "/dev/shm 大小 $(size "$all")"
  fi
}

# look_port: whether the server's port is free.
look_port() {
  local port=${OPT[port]:-8000} inode pid who=''
  if [[ ! -e $ROOT/proc/net/tcp ]]; then return; fi
  inode=$(listener "$port")
  if [[ -z $inode ]]; then
    ok port "port $port is free" "端口 $port 空闲"
    return
  fi
  read -r pid _ < <(open_by "socket:\[$inode\]") || pid=''
  if [[ -n $pid ]]; then who=": PID $pid $(process "$pid")"; fi
  note port-taken "port $port is taken$who" "端口 $port 已被占用$who" \
    "end that, or serve on another: --port $((port + 1))" "结束占用的进程，或换端口：--port $((port + 1))"
}

# listener PORT: the inode of the socket that listens there.
listener() {
  local hex address state inode
  printf -v hex ':%04X' "$1"
  while read -r _ address _ state _ _ _ _ _ inode _; do
    if [[ $address == *"$hex" && $state == 0A ]]; then
      printf '%s\n' "$inode"
      return
    fi
  done < <(file /proc/net/tcp && file /proc/net/tcp6)
}

# look_clone: whether the clone can be written.
look_clone() {
  if [[ ! -w $ROOT$PWD || $(mounted "$PWD") =~ \ ro(,|$) ]]; then
    problem clone-read-only "$PWD cannot be written" "$PWD 不可写" \
      "copy the clone to a folder of yours" "把仓库复制到自己的目录"
  else
    ok clone "$PWD can be written" "$PWD 可写"
  fi
}
