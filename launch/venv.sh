# shellcheck shell=bash
# Environments and what pip puts in them: the tools of launch/setup.sh.
#
# KIND is the accelerator; TORCH_INDEX the index of torch's CPU builds. In an environment, `ready-PART` says that this
# part is whole (launch/lib.sh: ready), `kind` for which accelerator, and `clone` where it was made.

# make_venv FOLDER PYTHON: an environment of that Python there, with a known pip; a working one is kept.
make_venv() {
  local folder=$1 python=$2 info
  if ! works "$folder" || [[ $(origin "$folder/bin/python") != "$(origin "$python")" ]]; then
    if [[ -x $python ]] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
      warn "$(t "$python has no venv module" "$python 没有 venv 模块")" "Debian, Ubuntu: sudo apt-get install python3-venv"
      return 1
    fi
    say "$(t "making $folder of" "建立 $folder："): $python"
    if ! interruptible "$python" -m venv --clear "$folder"; then return 1; fi
  fi
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  printf '%s\n' "$PWD" >"$folder/clone"
  # An installation cut off before its last file, RECORD, is none: pip shall do it again.
  for info in "$folder"/lib/python*/site-packages/*.dist-info; do
    if [[ -d $info && ! -f $info/RECORD ]]; then rm -rf "$info"; fi
  done
  if [[ $("$folder/bin/python" -m pip --version) != "pip $(matrix packages pip) "* ]]; then
    pip "$folder" install "pip==$(matrix packages pip)"
  fi
}

# origin PYTHON: which installed Python that is, whatever environment it is called through.
origin() { "$1" -c 'import sys; print(sys.base_prefix, sys.version_info[:3])'; }

# works FOLDER: whether the environment there has a Python and a pip that run.
works() { [[ -x $1/bin/python ]] && "$1/bin/python" -m pip --version >/dev/null 2>&1; }

# interruptible COMMAND...: run what takes its time; told to end, it ends at once, and then we do.
interruptible() {
  local status=0
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    run "$@"
    return
  fi
  attended "$@" || status=$?
  if ((STOPPED)); then stopped "$STOPPED"; fi
  trap stopped INT TERM
  return "$status"
}

# stopped [STATUS]: say that nothing is lost, and end.
stopped() {
  warn "$(t "stopped; the same command goes on from here" "已中断；重跑同一命令即可继续")"
  exit "${1:-130}"
}

# pip FOLDER COMMAND WORDS...: that environment's pip; quiet where nobody watches.
pip() {
  local quiet=() hint
  if [[ ! -t 2 ]]; then quiet=(--quiet); fi
  if ! interruptible "$1/bin/python" -m pip "$2" "${quiet[@]}" "${@:3}"; then
    hint=$(t "see pip's own words above; in China --mirror, without a network --offline" "请看上面 pip 的输出；国内用 --mirror，无网络用 --offline")
    if [[ -n ${OPT[offline]:-} ]]; then hint=$(t "put the wheel into wheels/" "把对应的 wheel 放进 wheels/"); fi
    die "$(t "pip could not $2: ${*:3}" "pip $2 失败：${*:3}")" "$hint; $(t "then the same command again" "然后重跑同一命令")"
  fi
}

# requires FOLDER PIP-WORDS...: what the wheel requires that pip would choose, one a line; fails if there is none.
requires() {
  local script='import json, sys
for line in json.load(sys.stdin)["install"][0]["metadata"].get("requires_dist", []): print(line)'
  "$1/bin/python" -m pip install --quiet --dry-run --no-deps --ignore-installed --retries 1 --timeout 20 \
    --report - "${@:2}" 2>/dev/null | "$1/bin/python" -c "$script" 2>/dev/null
}

# install_torch FOLDER VERSION: the torch of this host; fails if none can be had.
install_torch() {
  local folder=$1 version=$2 needs torch=("torch==$2,!=$2+cpu")
  if [[ $KIND != cuda && $(system) != macos ]]; then
    if [[ ${DRY_RUN:-0} == 1 ]] || requires "$folder" "torch==$version+cpu" >/dev/null; then
      torch=("torch==$version+cpu")
    elif requires "$folder" "torch==$version+cpu" --index-url "$TORCH_INDEX" >/dev/null; then
      torch=("torch==$version+cpu" --index-url "$TORCH_INDEX")
    # What is left is usually the CUDA build: gigabytes that a host without such a card cannot use.
    elif needs=$(requires "$folder" "torch==$version") && ! grep -qE '^(nvidia|cuda)-' <<<"$needs"; then
      torch=("torch==$version")
    else
      return 1
    fi
  fi
  say "$(t "installing" "安装") ${torch[*]}"
  pip "$folder" install --no-deps --force-reinstall "${torch[@]}" # another build of this version may be there
}

# torch_of FOLDER: the version of the torch installed there, nothing if there is none.
torch_of() {
  "$1/bin/python" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || printf ''
}

# has_torch FOLDER: whether the right torch for this host is there already.
has_torch() {
  local found wanted script='import importlib.metadata as m, sys
sys.exit(any(line.startswith(("nvidia-", "cuda-")) for line in m.requires("torch") or []))'
  found=$(torch_of "$1")
  wanted=$(matrix torch "$KIND")
  if [[ ${found%%+*} != "$wanted" ]]; then return 1; fi
  case $KIND-$(system) in
    cuda-*) [[ $found != *+cpu ]] ;;
    *-macos) ;;
    *) "$1/bin/python" -c "$script" ;;
  esac
}

# write_constraints FOLDER: the exact version of everything, torch as installed, so that no later resolver replaces it.
write_constraints() {
  local name version sections=(packages beneath)
  local -A pins=()
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  if [[ $("$1/bin/python" -c 'import sys; print(sys.version_info[1])') == 10 ]]; then sections+=(python_3_10); fi
  while read -r name version; do pins[$name]=$version; done < <(for name in "${sections[@]}"; do matrix "$name"; done)
  pins[torch]=$(torch_of "$1")
  for name in "${!pins[@]}"; do printf '%s==%s\n' "$name" "${pins[$name]}"; done >"$1/constraints.txt"
}

# mark_ready FOLDER PART: that part is whole.
mark_ready() {
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  printf '%s\n' "$KIND" >"$1/kind"
  stamp "$2" >"$1/ready-$2"
}
