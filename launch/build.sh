#!/usr/bin/env bash
# Build the image the trainer runs in with --runtime docker, for this host's devices.
# 构建 --runtime docker 时训练所用的镜像，适合本机的设备。
#
#   bash run_all.sh build                    unless it is there
#                                            已有则不重建
#   bash run_all.sh build --device ascend    for other devices than this host's
#                                            为其他设备构建
#
#   --device KIND      ascend, cuda or cpu, whatever is found here
#                      指定 ascend、cuda 或 cpu，不自动检测
#   --force-build      again, from the beginning, though it is there
#                      已有也从头重建
#   --mirror           download from mirrors inside China
#                      使用国内镜像
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/devices.sh
source launch/images.sh

main() {
  local kind file image words=()
  options "${BASH_SOURCE[0]}" "$@"
  kind=$(accelerator)
  file=$(dockerfile "$kind")
  if [[ ! -f $file ]]; then
    die "$(t "there is no $file in this clone" "本仓库没有 $file")" "--runtime host; DANLU_IMAGE=NAME"
  fi
  choose_engine
  need_engine
  image=$(train_image "$kind")
  if [[ ${DRY_RUN:-0} != 1 && -z ${OPT[force_build]:-} ]] && "$CONTAINERS" image inspect "$image" >/dev/null 2>&1; then
    say "$(t "already built" "已构建"): $image"
    return
  fi
  words=(--file "$file" --target train --tag "$image")
  if [[ -n ${OPT[force_build]:-} ]]; then words+=(--no-cache); fi
  if [[ -n ${OPT[mirror]:-} ]]; then words+=(--build-arg "PIP_INDEX_URL=$(matrix mirrors pypi)"); fi
  become "$CONTAINERS" build "${words[@]}" .
}

main "$@"
