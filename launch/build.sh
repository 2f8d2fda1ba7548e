#!/usr/bin/env bash
# Build the trainer's image, or that of vLLM with what starts it, for this host's devices.
# 构建训练镜像，或带启动程序的 vLLM 镜像，适合本机的设备。
#
#   bash run_all.sh build                    the trainer's, unless it is there
#                                            训练镜像，已有则不重建
#   bash run_all.sh build --target serve     the server's
#                                            服务镜像
#   bash run_all.sh build --device ascend --chip a3
#                                            for other devices than this host's
#                                            为其他设备构建
#
# Proxies are handed on, and what pip is told by PIP_INDEX_URL, PIP_CONFIG_FILE and PIP_CERT; no image remembers it.
# 代理设置以及 PIP_INDEX_URL、PIP_CONFIG_FILE、PIP_CERT 会用于构建，但不写入镜像。
#
#   --target WORD      train or serve; train unless said
#                      train 或 serve，默认 train
#   --device KIND      ascend, cuda or cpu, whatever is found here
#                      指定 ascend、cuda 或 cpu，不自动检测
#   --chip NAME        of Ascend's: a2, a3, 310p, 910a or a5; this host's unless said
#                      昇腾芯片：a2、a3、310p、910a 或 a5，默认取本机的
#   --stack WORD       current or conservative: an older Ascend stack, for older drivers
#                      current 或 conservative：旧驱动用较早的昇腾软件栈
#   --base NAME        build on this image
#                      指定基础镜像
#   --force-build      again, from the beginning, though it is there
#                      已有也从头重建
#   --mirror           download from mirrors inside China
#                      使用国内镜像
#   --offline          only what lies in wheels/, on a base that is here
#                      不联网，只用 wheels/ 与本机已有的基础镜像
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/devices.sh
source launch/images.sh

main() {
  local kind target chip='' file image words=() begin=()
  options "${BASH_SOURCE[0]}" "$@"
  kind=$(accelerator)
  target=${OPT[target]:-train}
  if [[ ! $target =~ ^(train|serve)$ ]]; then die "--target $target?" "--target train, --target serve"; fi
  if [[ $kind == npu ]]; then chip=$(generation); fi
  file=$(dockerfile "$kind")
  if [[ ! -f $file ]]; then
    die "$(t "there is no $file in this clone" "本仓库没有 $file")" "--runtime host; DANLU_IMAGE=NAME"
  fi
  choose_engine
  need_engine
  need_buildkit
  image=$(matrix "${target}_images" "$kind")$(entry_of chip_image "$chip")
  if [[ ${DRY_RUN:-0} != 1 && -z ${OPT[force_build]:-} ]] && "$CONTAINERS" image inspect "$image" >/dev/null 2>&1; then
    say "$(t "already built" "已构建"): $image"
    return
  fi
  words=(--file "$file" --target "$target" --tag "$image" --network host)
  arguments
  secrets
  if [[ -n ${OPT[force_build]:-} ]]; then words+=(--no-cache); fi
  if [[ $CONTAINERS_ARE == docker ]]; then begin=(env DOCKER_BUILDKIT=1); fi
  become "${begin[@]}" "$CONTAINERS" build "${words[@]}" .
}

# entry_of SECTION KEY: what the matrix says there; nothing where it says nothing.
entry_of() {
  local key value
  while read -r key value; do
    if [[ $key == "$2" ]]; then printf '%s' "$value"; fi
  done < <(matrix "$1")
}

# generation: the Ascend chip to build for: the one named, else this host's, else an A2.
generation() {
  local name pattern found=${OPT[chip]:-} here
  here=$(chip_here)
  while read -r name pattern; do
    if [[ -z $found && -n $here && $here =~ $pattern ]]; then found=$name; fi
  done < <(matrix chip)
  found=${found:-a2}
  if [[ -z $(entry_of chip "$found") ]]; then die "--chip $found?" "--chip a2, a3, 310p, 910a, a5"; fi
  echo "$found"
}

# need_buildkit: refuse a docker that can only build as it did of old.
need_buildkit() {
  local version
  if [[ ${DRY_RUN:-0} == 1 || $CONTAINERS_ARE != docker ]]; then return; fi
  version=$("$CONTAINERS" version --format '{{.Client.Version}}')
  if [[ $version =~ ^(2[3-9]|[3-9][0-9]) ]] && ! "$CONTAINERS" buildx version >/dev/null 2>&1; then
    die "$(t "docker has no buildx, with which it builds" "docker 缺少构建所需的 buildx")" \
      "Debian: sudo apt-get install docker-buildx-plugin; Ubuntu: sudo apt-get install docker-buildx"
  fi
}

# arguments: in `words`, what is built on and what of, where it is not what the Dockerfile says.
arguments() {
  local base name
  base=$(base_of)
  if [[ -n $base ]]; then
    words+=(--build-arg "${target^^}_BASE=$base")
    if [[ $target == serve ]]; then words+=(--build-arg "SERVE_BASE_ARM64=$base"); fi
  fi
  if [[ $kind-$target-${OPT[stack]:-} == npu-train-conservative ]]; then
    words+=(--build-arg "TORCH=$(matrix ascend_conservative torch)")
    words+=(--build-arg "TORCH_NPU=$(matrix ascend_conservative torch_npu)")
  fi
  if [[ -n ${OPT[offline]:-} ]]; then
    words+=(--build-arg OFFLINE=1)
    if [[ $kind-$target =~ ^(cpu|npu)-train$ ]]; then words+=(--build-arg TORCH_INDEX=); fi
  elif [[ -n ${OPT[mirror]:-} && $target == train ]]; then
    if [[ $kind != cuda ]]; then words+=(--build-arg "TORCH_INDEX=$(matrix mirrors torch_cpu)"); fi
    if [[ $kind != npu ]]; then words+=(--build-arg "DEBIAN_MIRROR=$(matrix mirrors debian)"); fi
  fi
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    if [[ -n ${!name:-} ]]; then words+=(--build-arg "$name"); fi # by its name: its value is nobody's business
  done
}

# base_of: the image to build on, where it is not the one the Dockerfile says.
base_of() {
  local stack=ascend system base='' machine
  if [[ -n ${OPT[base]:-} ]]; then
    echo "${OPT[base]}"
    return
  fi
  case ${OPT[stack]:-current} in
    current) system=$(matrix bases cann_system) ;;
    conservative) stack=ascend_conservative system=$(matrix ascend_conservative cann_system) ;;
    *) die "--stack ${OPT[stack]}?" "--stack current, --stack conservative" ;;
  esac
  case $kind-$target in
    npu-train)
      if [[ -z $(entry_of cann_chip "$chip") ]]; then
        die "$(t "for a $(entry_of chip_name "$chip") no CANN image is published" "没有公开的 CANN 镜像适合 $(entry_of chip_name "$chip")")" \
          "--base NAME: $(t "an image with CANN and its operators, and a Python" "含 CANN、对应算子包和 Python 的镜像")"
      fi
      base=$(matrix bases cann):$(matrix "$stack" cann)-$(entry_of cann_chip "$chip")-$system
      ;;
    npu-serve)
      if [[ $chip == 910a ]]; then die "$(t "vLLM-Ascend does not know a 910A" "vLLM-Ascend 不支持 910A")" "--target train"; fi
      base=$(matrix images vllm_npu):v$(matrix "$stack" vllm_ascend)$(entry_of chip_image "$chip")
      ;;
    *-train) base=$(matrix bases python) ;;
    *-serve)
      machine=$(uname -m)
      base=$(matrix images "vllm_$kind"):v$(matrix private "vllm_$kind")
      if [[ $kind == cpu ]]; then base+=-${machine/aarch64/arm64}; fi
      ;;
  esac
  if [[ -n ${OPT[mirror]:-} ]]; then
    if [[ $base != *.*/* ]]; then base=docker.io/$base; fi
    base=$(matrix mirrors images)/$base
    echo "${base#*://}"
  elif ! grep -qE "^ARG ${target^^}_BASE(_ARM64)?=${base//./\\.}$" "$file"; then
    echo "$base"
  fi
}

# secrets: in `words`, what pip is told on this host, as secrets of the build.
secrets() {
  if [[ -n ${OPT[mirror]:-} ]]; then
    PIP_INDEX_URL=$(matrix mirrors pypi)
    export PIP_INDEX_URL
  fi
  if [[ -n ${PIP_INDEX_URL:-} ]]; then words+=(--secret "id=index,env=PIP_INDEX_URL"); fi
  if [[ -f ${PIP_CONFIG_FILE:-} ]]; then words+=(--secret "id=pip,src=$PIP_CONFIG_FILE"); fi
  if [[ -f ${PIP_CERT:-} ]]; then words+=(--secret "id=ca,src=$PIP_CERT"); fi
}

main "$@"
