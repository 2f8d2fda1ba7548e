# shellcheck shell=bash
# Docker or Podman: whether it answers, is new enough, has room, and can hand a container this host's cards.

# begin_containers: ask whichever is here, while we look elsewhere.
begin_containers() {
  local format='{{.ServerVersion}}|{{.DockerRootDir}}|{{.SecurityOptions}}'
  if [[ $RUNTIME == podman ]]; then format='{{.Version.Version}}|{{.Store.GraphRoot}}|rootless={{.Host.Security.Rootless}}'; fi
  if [[ -n $RUNTIME ]]; then begin runtime ask "$RUNTIME" info --format "$format"; fi
}

# look_containers: the runtime, then what it needs for the cards, then the image.
look_containers() {
  local version folder security
  if [[ -z $RUNTIME ]]; then
    contained docker-missing "no Docker and no Podman: everything runs on the host itself${NEEDS_IMAGE:+, and vLLM for Ascend is published as images}" \
      "没有 Docker 或 Podman：一切直接在主机上运行${NEEDS_IMAGE:+；昇腾版 vLLM 只以镜像发布}" \
      "$(packages docker.io docker), or nothing: --runtime host is the default" "$(packages docker.io docker)；不装也可以，默认就是 --runtime host"
    return
  fi
  if ! ended runtime || [[ ! $TOLD =~ ^[0-9] ]]; then
    runtime_failed "$TOLD"
    return
  fi
  IFS='|' read -r version folder security <<<"$TOLD"
  look_runtime "$version" "$security"
  look_room "$folder"
  look_handing
  if [[ $KIND == npu ]]; then look_vllm_image; fi
}

# runtime_failed WORDS: why it does not answer.
runtime_failed() {
  local words=${1##*$'\n'} reason="Cannot connect[^"$'\n'"]*"
  if [[ $1 =~ $reason ]]; then words=${BASH_REMATCH[0]}; fi
  case $1 in
    *"permission denied"*)
      contained docker-forbidden "$RUNTIME does not let this user in" "当前用户无权使用 $RUNTIME" \
        "sudo usermod -aG docker \$USER, then log in again; or rootless Docker" "sudo usermod -aG docker \$USER，重新登录；或使用 rootless Docker"
      ;;
    *)
      contained docker-silent "$RUNTIME does not answer: ${words:-no word in time}" "$RUNTIME 没有响应：${words:-没有及时输出}" \
        "sudo systemctl start docker" "sudo systemctl start docker"
      ;;
  esac
}

# look_runtime VERSION SECURITY: whether images of today run on it, and as whom.
look_runtime() {
  local least user text="$RUNTIME $1"
  least=$(matrix requirements docker)
  if [[ $2 == *rootless* && $2 != *rootless=false* ]]; then
    text+=", rootless"
    user=$(ask id -un) || user=''
    if [[ $user != root && -n $user ]] && ! grep -qs "^$user:" "$ROOT/etc/subuid"; then
      contained rootless-ids "no subordinate ids for $user in /etc/subuid: rootless containers do not start" \
        "/etc/subuid 中没有 $user：无法启动 rootless 容器" \
        "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $user" \
        "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $user"
    fi
  fi
  if [[ $RUNTIME == docker ]] && older "$1" "$least"; then
    contained docker-old "Docker $1: in images of today, no process can begin a thread; $least is needed" \
      "Docker $1 过旧：新镜像中的进程无法创建线程，需要 $least 以上" \
      "upgrade Docker" "升级 Docker"
  else
    ok docker "$text" "$text"
  fi
}

# look_room FOLDER: room for images where they are kept.
look_room() {
  local free needs
  free=$(free "$1") needs=$(matrix requirements disk_images)
  if [[ -n $free ]] && ((free < needs * 1048576)); then
    contained images-room "$(size "$free") left in $1, where images are kept; they take up to $needs GB" \
      "存放镜像的 $1 只剩 $(size "$free")，镜像最多占 $needs GB" \
      "docker system prune, or move data-root in /etc/docker/daemon.json" "docker system prune，或在 /etc/docker/daemon.json 中更换 data-root"
  fi
}

# look_handing: whether a container can be given the cards, and whether the default runtime is there.
look_handing() {
  local runtime path text
  text=$(file /etc/docker/daemon.json)
  if [[ $RUNTIME == docker && $text =~ \"default-runtime\"[[:space:]]*:[[:space:]]*\"([^\"]+)\" ]]; then
    runtime=${BASH_REMATCH[1]}
    if [[ $text =~ \"$runtime\"[[:space:]]*:[[:space:]]*\{[^\}]*\"path\"[[:space:]]*:[[:space:]]*\"([^\"]+)\" ]]; then
      path=${BASH_REMATCH[1]}
      if [[ ! -e $ROOT$path && -z $(command_of "$path") ]]; then
        contained docker-runtime "Docker's default runtime '$runtime' is not there: $path" "Docker 默认运行时「$runtime」不存在：$path" \
          "take default-runtime out of /etc/docker/daemon.json, or install it again; then restart Docker" \
          "从 /etc/docker/daemon.json 去掉 default-runtime，或重装它；然后重启 Docker"
      fi
    fi
  fi
  if [[ $KIND == cuda ]]; then look_nvidia_toolkit; fi
}

# look_nvidia_toolkit: what makes `--gpus` work; Podman reads a list instead.
look_nvidia_toolkit() {
  if [[ $RUNTIME == podman && ! -e $ROOT/etc/cdi/nvidia.yaml && ! -e $ROOT/var/run/cdi/nvidia.yaml ]]; then
    contained podman-cards "Podman has no list of the cards" "Podman 没有显卡清单" \
      "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml" "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
  elif [[ -z $(command_of nvidia-container-runtime-hook)$(command_of nvidia-container-toolkit)$(command_of nvidia-ctk) ]]; then
    contained nvidia-toolkit-missing "no NVIDIA Container Toolkit: containers get no card" "没有 NVIDIA Container Toolkit：容器无法使用显卡" \
      "install nvidia-container-toolkit; then: sudo nvidia-ctk runtime configure --runtime=docker" \
      "安装 nvidia-container-toolkit；然后 sudo nvidia-ctk runtime configure --runtime=docker"
  else
    ok nvidia-toolkit "NVIDIA Container Toolkit" "NVIDIA Container Toolkit"
  fi
}
