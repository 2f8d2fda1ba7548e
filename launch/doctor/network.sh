# shellcheck shell=bash
# Whether what is downloaded can be reached: packages, torch, images; where they cannot, whether a mirror can.

declare -A REACH=() # name: where it is, for what will be downloaded on this host

# begin_network: ask all of them at once, while we look elsewhere.
begin_network() {
  local name image
  if [[ -n ${OPT[offline]:-} ]]; then return; fi
  if ! pip_configured no-index >/dev/null; then
    REACH[pypi]=$(pip_configured index-url || matrix indexes pypi)/pip/
    if [[ $KIND != cuda && $SYSTEM != macos ]] && ! pip_configured find-links >/dev/null; then
      REACH[torch_cpu]=$(matrix indexes torch_cpu)/torch/
    fi
  fi
  if [[ -n $RUNTIME ]]; then
    image=$(matrix images "vllm_$KIND")
    image=${image%%/*}
    if [[ $image == *.* ]]; then REACH[images]=https://$image/v2/; else REACH[images]=$(matrix indexes images)/v2/; fi
  fi
  for name in "${!REACH[@]}"; do begin "reach-$name" reach_or_mirror "${REACH[$name]}" "$(matrix mirrors "$name")/"; done
}

# pip_configured KEY: what pip is configured with: its environment variable, else the first of its files that says.
pip_configured() {
  local variable=${1//-/_} path line
  variable=PIP_${variable^^}
  if [[ -n ${!variable:-} ]]; then
    printf '%s\n' "${!variable%/}"
    return
  fi
  for path in "${PIP_CONFIG_FILE:-}" "${XDG_CONFIG_HOME:-${HOME:-}/.config}/pip/pip.conf" "${HOME:-}/.pip/pip.conf" /etc/pip.conf; do
    if [[ -z $path ]]; then continue; fi
    while IFS= read -r line; do
      if [[ $line =~ ^[[:space:]]*$1[[:space:]]*=[[:space:]]*(.*[^/])/?$ ]]; then
        printf '%s\n' "${BASH_REMATCH[1]}"
        return
      fi
    done < <(file "$path")
  done
  return 1
}

# reach_or_mirror ADDRESS MIRROR: which of them answers, as a status: 0 the first, 1 the mirror, 2 neither.
reach_or_mirror() {
  if reach "$1"; then return 0; fi
  if reach "$2"; then return 1; fi
  return 2
}

# reach ADDRESS: whether anything answers there within a few seconds; 401 or 404 is an answer.
reach() {
  local status=0 host
  if [[ $1 == file://* ]]; then
    host=${1#file://}
    test -d "$ROOT${host%/pip/}"
  elif [[ -n $(command_of curl) ]]; then
    ask curl --silent --head --output /dev/null --connect-timeout 3 --max-time 5 "$1"
  elif [[ -n $(command_of wget) ]]; then
    ask wget --quiet --spider --timeout 4 --tries 1 "$1" || status=$?
    ((status == 0 || status == 6 || status == 8))
  else
    host=${1#*://}
    # shellcheck disable=SC2016 # $0 is that bash's
    timeout 4 bash -c 'exec 3<>"/dev/tcp/$0/443"' "${host%%/*}" 2>/dev/null
  fi
}

# look_network: what answered.
look_network() {
  local name status here='' mirrored='' nowhere=''
  for name in pypi torch_cpu; do
    if [[ -z ${REACH[$name]:-} ]]; then continue; fi
    status=0
    ended "reach-$name" || status=$?
    case $status in
      0) here+=" ${REACH[$name]}" ;;
      1) mirrored+=" ${REACH[$name]}" ;;
      *) nowhere+=" ${REACH[$name]}" ;;
    esac
  done
  if [[ -n $nowhere ]]; then
    unreached "$nowhere"
  elif [[ -n $mirrored ]]; then
    note network-mirror "no answer from$mirrored; a mirror answers" "连不上$mirrored；国内镜像可用" \
      "bash run_all.sh setup --mirror" "bash run_all.sh setup --mirror"
  elif [[ -n $here ]]; then
    ok network "answers:$here" "可以连接：$here"
  fi
  if [[ -n ${REACH[images]:-} ]]; then look_registry; fi
}

# unreached ADDRESSES: it blocks where nothing is set up yet, and no wheels were brought.
unreached() {
  if [[ -f $ROOT$PWD/.venv/ready-base ]] || compgen -G "$ROOT$PWD/wheels/*.whl" >/dev/null; then
    note network-away "no answer from$1, nor from a mirror; what is set up goes on working" "连不上$1，镜像也不通；已装好的照常使用" \
      "--offline says so to every step" "各步骤加 --offline"
  else
    problem network-none "no answer from$1, nor from a mirror" "连不上$1，镜像也不通" \
      "export https_proxy=http://HOST:PORT, or bring wheels in wheels/ and set up with --offline" \
      "export https_proxy=http://主机:端口，或把 wheel 放进 wheels/ 后 setup --offline"
  fi
}

# look_registry: where images come from.
look_registry() {
  local mirror status=0
  mirror=$(matrix mirrors images)
  ended reach-images || status=$?
  if ((status == 0)); then
    ok registry "answers: ${REACH[images]}" "可以连接：${REACH[images]}"
  elif ((status == 1)); then
    note registry-mirror "no answer from ${REACH[images]}; a mirror answers" "连不上 ${REACH[images]}；国内镜像可用" \
      "docker pull ${mirror#https://}/IMAGE, which --vllm-image names" "docker pull ${mirror#https://}/镜像名，再用 --vllm-image 指定"
  else
    note registry-none "no answer from ${REACH[images]}, nor from a mirror" "连不上 ${REACH[images]}，镜像也不通" \
      "pull on another host, docker save, and docker load here" "在其他主机 pull 后 docker save，再到本机 docker load"
  fi
}
