#!/usr/bin/env bash
# Make this clone's own environment: the right torch for this host and all the engine needs.
# 为本仓库建立独立环境：适合本机的 torch 和引擎所需的一切。
#
#   bash run_all.sh setup                 the trainer's environment, .venv/
#                                         训练环境 .venv/
#   bash run_all.sh setup --with vllm     and vLLM, apart from it
#                                         另装 vLLM，与训练环境分开
#
# Run it again at any time: it goes on where it stopped, and what is there already is not made again.
# 可随时重跑：从中断处继续，已装好的不再重装。
#
#   --with NAME...     also an environment of its own for vllm, browser, npu or transformers4
#                      另建 vllm、browser、npu 或 transformers4 的独立环境
#   --extra NAME...    more of pyproject.toml in .venv/: convert, data, serve, mcp, track, test
#                      在 .venv/ 中加装 pyproject.toml 的 convert、data、serve、mcp、track、test
#   --device KIND      ascend, cuda or cpu, whatever is found here
#                      指定 ascend、cuda 或 cpu，不自动检测
#   --python PATH      this Python and no other
#                      指定 Python
#   --mirror           download from mirrors inside China
#                      使用国内镜像
#   --offline          only what lies in wheels/ or where pip is told to look on this host
#                      不联网，只用 wheels/ 与 pip 已配置的本地目录
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/venv.sh
source launch/private.sh
source launch/devices.sh
source launch/container.sh

main() {
  options "${BASH_SOURCE[0]}" "$@"
  KIND=$(accelerator)
  check_host
  configure_pip
  one_at_a_time
  trap stopped INT TERM

  local name
  for name in ${OPT[with]:-}; do
    if [[ $name == transformers4 ]]; then OPT[extra]+=$'\ntest'; fi # whose packages it shares
  done
  trainer
  for name in ${OPT[with]:-}; do "private_$name"; done
}

# check_host: refuse what cannot work before anything is changed.
check_host() {
  local name
  if [[ " $(matrix supported systems) " != *" $(system) "* ]]; then
    die "$(t "this system is $(system)" "本机系统为 $(system)")" "Linux, macOS, Windows + WSL"
  fi
  if [[ " $(matrix supported machines) " != *" $(uname -m) "* ]]; then
    die "$(t "this processor is $(uname -m)" "本机处理器为 $(uname -m)")" "$(matrix supported machines)"
  fi
  if [[ ! -w . ]]; then
    die "$(t "$PWD cannot be written" "$PWD 不可写")" "$(t "copy the clone to a folder of yours" "把仓库复制到自己的目录")"
  fi
  for name in ${OPT[with]:-}; do
    if [[ $(type -t "private_$name") != function ]]; then
      die "--with $name?" "vllm, browser, npu, transformers4"
    elif [[ $name == vllm && $KIND == npu ]]; then
      die "$(t "vLLM for Ascend is published as images, not as wheels" "昇腾版 vLLM 以镜像而非 wheel 发布")" \
        "bash run_all.sh --runtime docker vllm; $(matrix images vllm_npu)"
    fi
  done
}

# configure_pip: nothing of the caller's Python settings may lead into another environment.
configure_pip() {
  unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
  export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_VIRTUALENV=0
  TORCH_INDEX=$(matrix indexes torch_cpu)
  if [[ -n ${OPT[mirror]:-} ]]; then
    PIP_INDEX_URL=$(matrix mirrors pypi)
    TORCH_INDEX=$(matrix mirrors torch_cpu)
    export PIP_INDEX_URL
  fi
  if [[ -n ${OPT[offline]:-} ]]; then
    export PIP_NO_INDEX=1 PIP_FIND_LINKS="wheels ${PIP_FIND_LINKS:-}" # relative, for pip splits it at spaces
  fi
}

# one_at_a_time: two setups of one clone wait for each other, where the host can.
one_at_a_time() {
  if [[ ${DRY_RUN:-0} == 1 ]] || ! type -P flock >/dev/null; then return; fi
  exec 9>.venv.lock
  if ! flock --nonblock 9; then
    say "$(t "another setup of this clone is running; waiting for it" "本仓库的另一个 setup 正在运行，等待其结束")"
    flock 9
  fi
}

# trainer: .venv with torch, the engine and the extras asked for.
trainer() {
  local part parts=(base) extras
  for part in ${OPT[extra]:-}; do parts+=("$part"); done
  if ready .venv "${parts[@]}" && [[ $(<.venv/kind) == "$KIND" ]]; then
    say "$(t "already set up" "已装好"): .venv (torch $(torch_of .venv), $KIND)"
    return
  fi
  say "$(t "this host" "本机"): $(system) $(uname -m), $KIND"
  make_trainer_venv
  write_constraints .venv

  # hatchling builds the editable install; installed here, it needs no second environment and no network.
  say "$(t "installing the engine and what it needs" "安装引擎及其依赖")"
  pip .venv install --constraint .venv/constraints.txt hatchling
  extras=$(IFS=, && echo "${parts[*]:1}")
  pip .venv install --constraint .venv/constraints.txt --no-build-isolation --editable ".${extras:+[$extras]}"

  prove
  remarks
  for part in "${parts[@]}"; do mark_ready .venv "$part"; done
  would_make "${parts[@]}"
  say "$(t "ready: ./danlu info, or first: source .venv/bin/activate" "就绪：./danlu info，或先执行 source .venv/bin/activate")"
}

# make_trainer_venv: .venv on the first Python for which this host's torch can be had.
make_trainer_venv() {
  local python found=()
  if [[ -f .venv/clone && $(<.venv/clone) != "$PWD" ]]; then
    say "$(t "the clone has moved; making .venv again" "仓库已移动，重建 .venv")"
    run rm -rf .venv
  fi
  mapfile -t found < <(pythons)
  for python in "${found[@]}"; do
    if ! make_venv .venv "$python"; then
      continue
    elif has_torch .venv; then
      say "torch $(torch_of .venv)"
      return
    elif install_torch .venv "$(matrix torch "$KIND")"; then
      if [[ $KIND == npu ]]; then install_torch_npu; fi
      return
    fi
    warn "$(t "no torch $(matrix torch "$KIND") for $KIND can be had for $python" \
      "找不到适合 $python 的 torch $(matrix torch "$KIND")（$KIND）")"
  done
  die "$(t "no Python here for which this host's torch can be had" "没有可用的 Python 能配上本机所需的 torch")" \
    "$(t "Python $(matrix supported python) with its venv module; a network that reaches $TORCH_INDEX (in China: --mirror)" \
      "安装 Python $(matrix supported python) 之一及其 venv 模块；确保能访问 $TORCH_INDEX（国内用 --mirror）")"
}

# install_torch_npu: the Ascend back-end; importing torch beside it needs CANN's libraries on the path.
install_torch_npu() {
  pip .venv install --no-deps "torch-npu==$(matrix ascend torch_npu)"
  if ! has_cann; then
    warn "$(t "torch-npu is made for CANN $(matrix ascend cann), whose environment is not set here" \
      "torch-npu 面向 CANN $(matrix ascend cann)，当前没有它的环境变量")" "source set_env.sh; $(matrix container_npu toolkit)"
  fi
}

# pythons: every Python here that may serve, one a line: that of .venv first, the usual one, others.
pythons() {
  local name version
  local about='import sys; print("%d.%d" % sys.version_info[:2])'
  local names=(.venv/bin/python python3 python3.12 python3.11 python3.13 python3.10)
  if [[ -n ${OPT[python]:-} ]]; then names=("${OPT[python]}"); fi
  for name in "${names[@]}"; do
    version=$("$name" -c "$about" 2>/dev/null) || continue
    if [[ " $(matrix supported python) " == *" $version "* ]]; then type -P "$name"; fi
  done
}

# has_cann: whether CANN's settings are made, or are where they are looked for.
has_cann() {
  local toolkit=()
  read -ra toolkit <<<"$(matrix container_npu toolkit)"
  [[ -n ${ASCEND_HOME_PATH:-} ]] || first_there "${toolkit[@]}" >/dev/null
}

# prove: an import proves more than an exit status; fail here rather than in a user's first run.
prove() {
  local begin=()
  if [[ $KIND == npu && -z ${ASCEND_HOME_PATH:-} ]] && has_cann; then after_cann begin; fi
  if ! run "${begin[@]}" .venv/bin/python -c 'import danlu.cli, numpy, pydantic, tokenizers, torch; torch.ones(2, 2) @ torch.ones(2, 2)'; then
    die "$(t "what was installed does not import" "已安装的包无法导入")" "rm -rf .venv && bash run_all.sh setup"
  fi
}

# remarks: what works here only in part, each once, with its remedy.
remarks() {
  local script='import pathlib, sysconfig; print(pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'
  if [[ -z $(type -P "${CXX:-c++}" g++ clang++) ]]; then
    warn "$(t "no C++ compiler: torch.compile is off, training is slower" "没有 C++ 编译器：torch.compile 关闭，训练较慢")" \
      "Debian, Ubuntu: sudo apt-get install g++; openEuler, Kylin: sudo dnf install gcc-c++; macOS: xcode-select --install"
  elif [[ $PWD == *[[:space:]]* ]]; then
    warn "$(t "a space in the clone's path: torch.compile is off, training is slower" "仓库路径含空格：torch.compile 关闭，训练较慢")" \
      "$(t "its linker splits the path there; move the clone, then set up again" "其链接器会在空格处断开；请移动仓库后重新 setup")"
  elif [[ ${DRY_RUN:-0} != 1 && $(.venv/bin/python -c "$script") == False ]]; then
    warn "$(t "no Python.h: torch.compile is off, training is slower" "没有 Python.h：torch.compile 关闭，训练较慢")" \
      "Debian, Ubuntu: sudo apt-get install python3-dev; openEuler, Kylin: sudo dnf install python3-devel"
  fi
}

main "$@"
