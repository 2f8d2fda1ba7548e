# shellcheck shell=bash disable=SC2034
# The container engine of this host, and the images the trainer runs in. Part of launch/container.sh and launch/build.sh.

CONTAINERS='' CONTAINERS_ARE='' # what is called, and whether that is docker or podman

# choose_engine: the container engine: the one named, else docker, else podman; and which of them it really is.
choose_engine() {
  CONTAINERS=${DANLU_CONTAINER_ENGINE:-docker} CONTAINERS_ARE=docker
  if [[ -z ${DANLU_CONTAINER_ENGINE:-} && -z $(type -P docker) && -n $(type -P podman) ]]; then CONTAINERS=podman; fi
  if [[ ${CONTAINERS##*/} == podman || $(ask_engine --version) == podman* ]]; then CONTAINERS_ARE=podman; fi
}

# ask_engine WORDS...: what the engine of the host looked at says; nothing where it has none.
ask_engine() {
  local program=$CONTAINERS
  if [[ -n ${HOST_ROOT:-} ]]; then program=$HOST_ROOT/usr/bin/${CONTAINERS##*/}; fi
  "$program" "$@" 2>/dev/null || printf ''
}

# train_image KIND: the image the trainer runs in on such devices.
train_image() {
  local suffix=''
  if [[ $1 == npu ]]; then suffix=$(image_suffix "$(chip_here)"); fi
  echo "$(matrix train_images "$1")$suffix"
}

# image_suffix CHIP: what the tag of an Ascend image ends in for a chip of that name.
image_suffix() {
  local generation pattern name suffix
  while read -r generation pattern; do
    if [[ $1 =~ $pattern ]]; then
      while read -r name suffix; do
        if [[ $name == "$generation" ]]; then echo "$suffix"; fi
      done < <(matrix chip_image)
      return
    fi
  done < <(matrix chip)
}

# chip_here: the name of this host's first Ascend chip, as npu-smi prints it; nothing where it cannot be asked.
chip_here() {
  local tool row='^\|[[:space:]]*[0-9]+[[:space:]]+([^[:space:]]*[0-9]{3}[^[:space:]]*)[[:space:]]*\|[[:space:]]*[A-Za-z]+[[:space:]]*\|' line
  tool=$(first_there /usr/local/bin/npu-smi /usr/local/sbin/npu-smi) || tool=''
  if [[ -n $tool ]]; then tool=${HOST_ROOT:-}$tool; else tool=npu-smi; fi
  while IFS= read -r line; do
    if [[ $line =~ $row ]]; then
      echo "${BASH_REMATCH[1]}"
      return
    fi
  done < <("$tool" info 2>/dev/null)
}

# need_engine: refuse a host whose container engine is missing or does not answer.
need_engine() {
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  if [[ -z $(type -P "$CONTAINERS") ]]; then
    die "$(t "there is no $CONTAINERS here" "本机没有 $CONTAINERS")" "$(t "install it, or --runtime host" "安装它，或用 --runtime host")"
  elif ! "$CONTAINERS" info >/dev/null 2>&1; then
    die "$(t "$CONTAINERS does not answer" "$CONTAINERS 没有响应")" \
      "$(t "start it, or join its group: sudo systemctl start docker; sudo usermod -aG docker \$USER" \
        "启动它，或加入其用户组：sudo systemctl start docker；sudo usermod -aG docker \$USER")"
  fi
}

# need_image NAME: build the image if it is not there and this clone can; refuse if it cannot.
need_image() {
  need_engine
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  if [[ -z ${OPT[force_build]:-} ]] && "$CONTAINERS" image inspect "$1" >/dev/null 2>&1; then return; fi
  if [[ -z ${DANLU_IMAGE:-} && -f $(dockerfile "$KIND") ]]; then
    attended bash launch/build.sh --device "$KIND" ${OPT[force_build]:+--force-build} ${OPT[mirror]:+--mirror}
  else
    die "$(t "there is no image $1 here" "本机没有镜像 $1")" \
      "$CONTAINERS load --input FILE; DANLU_IMAGE=NAME; $(t or 或) --runtime host"
  fi
}

# dockerfile KIND: the file an image for such devices is built from.
dockerfile() { if [[ $1 == npu ]]; then echo Dockerfile.ascend; else echo "Dockerfile.$1"; fi; }
