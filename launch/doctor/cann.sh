# shellcheck shell=bash
# CANN on the host: where, which, for what chip, and whether the driver carries it and the environment names it.

# look_cann: whether CANN is here; the images bring their own.
look_cann() {
  local named=${ASCEND_HOME_PATH:-${ASCEND_TOOLKIT_HOME:-}}
  if [[ -n $named && ! -d $ROOT$named ]]; then
    problem cann-path "ASCEND_HOME_PATH is $named, which is not there" "ASCEND_HOME_PATH 指向不存在的 $named" \
      "unset ASCEND_HOME_PATH ASCEND_TOOLKIT_HOME, then source CANN's set_env.sh" "unset ASCEND_HOME_PATH ASCEND_TOOLKIT_HOME，再 source CANN 的 set_env.sh"
    return
  fi
  find_cann "$named"
  if [[ -n $CANN_HOME ]]; then
    look_cann_version "$named"
  elif [[ -n $RUNTIME ]]; then
    note cann-in-images "no CANN on this host: only images, which hold it, can use the cards" "本机没有 CANN：只有自带 CANN 的镜像能使用 NPU" \
      "--runtime docker, or install CANN $(matrix ascend cann)" "--runtime docker，或安装 CANN $(matrix ascend cann)"
  else
    problem cann-missing "no CANN on this host, and no Docker for images that hold it" "本机没有 CANN，也没有可运行镜像的 Docker" \
      "install CANN $(matrix ascend cann) (toolkit and operators), or Docker" "安装 CANN $(matrix ascend cann)（toolkit 和算子包），或安装 Docker"
  fi
}

# find_cann NAMED: CANN_HOME and CANN: where it is, and its version.
find_cann() {
  local home
  for home in "$1" /usr/local/Ascend/{cann,ascend-toolkit/latest,nnae/latest} "${HOME:-}"/Ascend/{cann,ascend-toolkit/latest}; do
    if [[ -n $home ]]; then CANN=$(cann_version "$home"); fi
    if [[ -n $CANN ]]; then
      CANN_HOME=$home
      return
    fi
  done
}

# cann_version FOLDER: the version of the CANN there.
cann_version() {
  local path version
  for path in "$ROOT$1"/*-linux/ascend_*_install.info "$ROOT$1"/{toolkit,runtime,opp,compiler}/version.info; do
    path=${path#"$ROOT"}
    version=$(file "$path")
    case $path in
      *_install.info) version=$(value version "$version") ;;
      *) version=$(value version_dir "$version") ;;
    esac
    if [[ -n $version ]]; then
      printf '%s\n' "$version"
      return
    fi
  done
}

# look_cann_version NAMED: whether it fits the driver, torch_npu and the chip, and has been sourced.
look_cann_version() {
  local least folder script=$CANN_HOME/set_env.sh
  if [[ ! -e $ROOT$script ]]; then script=${CANN_HOME%/*}/set_env.sh; fi
  least=$(pinned drivers "cann_$(minor "$CANN")")
  folder=$(pinned chip_operators "${GENERATION:-none}")
  if [[ -n $least && -n $DRIVER ]] && older "$DRIVER" "$least"; then
    problem cann-too-new "CANN $CANN needs driver $least or newer; this is $DRIVER" "CANN $CANN 需要驱动 $least 以上，本机为 $DRIVER" \
      "upgrade the driver, or install an older CANN" "升级驱动，或换用较旧的 CANN"
  elif [[ $(minor "$CANN") != "$(minor "$(matrix ascend cann)")" ]]; then
    note cann-other "CANN $CANN; torch_npu $(matrix ascend torch_npu) is made for $(matrix ascend cann)" \
      "CANN $CANN；torch_npu $(matrix ascend torch_npu) 面向 CANN $(matrix ascend cann)" \
      "install CANN $(matrix ascend cann), or --runtime docker" "安装 CANN $(matrix ascend cann)，或 --runtime docker"
  else
    ok cann "CANN $CANN: $CANN_HOME" "CANN $CANN：$CANN_HOME"
  fi
  if [[ -n $folder && ! -d $ROOT$CANN_HOME/opp/built-in/op_impl/ai_core/tbe/kernel/$folder ]]; then
    problem cann-operators "CANN has no operators for this chip ($folder)" "CANN 缺少本芯片的算子包（$folder）" \
      "install the operator package (ops; before 8.5: kernels) of CANN $CANN for this chip" \
      "安装 CANN $CANN 中适合本芯片的算子包（ops，8.5 之前叫 kernels）"
  fi
  if [[ -z $1 && " $(matrix container_npu toolkit) " == *" $script "* ]]; then
    note cann-not-sourced "CANN's environment is not set: run_all.sh reads it by itself; danlu alone would not find CANN" \
      "没有加载 CANN 的环境变量：run_all.sh 会自行加载；直接用 danlu 时找不到 CANN" "source $script" "source $script"
  elif [[ -z $1 ]]; then
    problem cann-not-sourced "CANN's environment is not set: import torch_npu fails" "没有加载 CANN 的环境变量：import torch_npu 会失败" \
      "source $script" "source $script"
  fi
}

# look_vllm_image: whether the driver carries the CANN of the image that serves; else the newest it does carry.
look_vllm_image() {
  local pinned release cann least repository suffix
  repository=$(matrix images vllm_npu) pinned=$(matrix ascend vllm_ascend)
  if [[ -z $GENERATION || ! $CHIP =~ $(matrix vllm ascend_chips) ]]; then return; fi
  suffix=$(pinned chip_image "$GENERATION")
  while read -r release cann; do
    least=$(pinned drivers "cann_$(minor "$cann")")
    if [[ -n $DRIVER && -n $least ]] && older "$DRIVER" "$least"; then continue; fi
    if [[ $release == "$pinned" ]]; then
      ok image "$repository:v$release$suffix (CANN $cann)" "$repository:v$release$suffix（CANN $cann）"
    else
      problem image-too-new "the image v$pinned holds CANN $(matrix vllm_ascend_cann "$pinned"), too new for driver $DRIVER" \
        "镜像 v$pinned 内含 CANN $(matrix vllm_ascend_cann "$pinned")，驱动 $DRIVER 过旧" \
        "upgrade the driver, or --vllm-image $repository:v$release$suffix" "升级驱动，或 --vllm-image $repository:v$release$suffix"
    fi
    return
  done < <(matrix vllm_ascend_cann)
  problem image-none "driver $DRIVER is too old for every image" "驱动 $DRIVER 过旧，没有可用的镜像" \
    "upgrade the driver to $(pinned drivers "cann_$(minor "$(matrix ascend cann)")") or newer" \
    "把驱动升级到 $(pinned drivers "cann_$(minor "$(matrix ascend cann)")") 以上"
}
