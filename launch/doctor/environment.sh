# shellcheck shell=bash
# What surrounds a run on this host: the locale, proxies, the variables that choose devices, and .venv, whose packages
# are read by their files, so that no Python is needed.

# look_environment: the user's variables, then the clone's environment.
look_environment() {
  look_locale
  look_proxy
  look_home
  look_allocator
  look_venv
}

# look_locale: text is UTF-8 everywhere here. C and POSIX are no trouble: Python then takes UTF-8.
look_locale() {
  local locale=${LC_ALL:-${LC_CTYPE:-${LANG:-C}}}
  case ${locale,,} in
    *utf-8* | *utf8* | c | posix)
      ok locale "locale $locale" "区域设置 $locale"
      ;;
    *)
      note locale-not-utf8 "locale $locale: Chinese and other text may be garbled" "区域设置 $locale：中文可能乱码" \
        "export LC_ALL=C.UTF-8" "export LC_ALL=C.UTF-8"
      ;;
  esac
}

# look_proxy: a proxy that is also asked for this host's own server answers 502 or 503.
look_proxy() {
  local proxy=${http_proxy:-${HTTP_PROXY:-${all_proxy:-${ALL_PROXY:-}}}} except=${no_proxy:-${NO_PROXY:-}}
  if [[ -n $proxy && ",$except," != *localhost* && ",$except," != *127.0.0.1* ]]; then
    note proxy-localhost "requests to this host's own server would go to the proxy" "访问本机服务的请求也会走代理" \
      "export no_proxy=localhost,127.0.0.1" "export no_proxy=localhost,127.0.0.1"
  fi
}

# look_home: where pip and torch keep what they can make again.
look_home() {
  if [[ -z ${HOME:-} || ! -d $ROOT$HOME || ! -w $ROOT$HOME ]]; then
    # shellcheck disable=SC2016 # the user's shell shall expand it
    note home-missing "no home folder that can be written: nothing is cached" "没有可写的家目录：无法缓存" \
      'export HOME="$PWD/out"' 'export HOME="$PWD/out"'
  fi
}

# look_allocator: torch refuses both names of one setting.
look_allocator() {
  if [[ -n ${PYTORCH_ALLOC_CONF:-} && -n ${PYTORCH_NPU_ALLOC_CONF:-} ]]; then
    problem allocator-twice "PYTORCH_ALLOC_CONF and PYTORCH_NPU_ALLOC_CONF are both set, which torch_npu refuses" \
      "同时设置了 PYTORCH_ALLOC_CONF 和 PYTORCH_NPU_ALLOC_CONF，torch_npu 会报错" \
      "unset PYTORCH_NPU_ALLOC_CONF" "unset PYTORCH_NPU_ALLOC_CONF"
  fi
}

# look_venv: whether the clone's environment is there, of this clone, and for this host's device.
look_venv() {
  local folder=$ROOT$PWD/.venv made_in made_for
  if [[ ! -e $folder && ! -L $folder ]]; then
    ok venv "no .venv yet: bash run_all.sh setup" "还没有 .venv：bash run_all.sh setup"
    return
  fi
  made_in=$(file "$PWD/.venv/clone") made_for=$(file "$PWD/.venv/kind")
  if [[ ! -e $folder/bin/python ]]; then
    note venv-broken ".venv has lost its Python" ".venv 的 Python 已不存在" \
      "bash run_all.sh setup makes it again" "bash run_all.sh setup 会重建"
  elif [[ -n $made_in && $made_in != "$PWD" ]]; then
    note venv-moved ".venv was made in $made_in" ".venv 是在 $made_in 建立的" \
      "bash run_all.sh setup makes it again" "bash run_all.sh setup 会重建"
  elif [[ -n $made_for && $made_for != "$KIND" ]]; then
    note venv-device ".venv was made for $made_for; this host has $KIND" ".venv 是为 $made_for 建立的，本机是 $KIND" \
      "bash run_all.sh setup" "bash run_all.sh setup"
  else
    ok venv ".venv: torch $(installed torch)" ".venv：torch $(installed torch)"
  fi
  look_torch_npu
}

# look_torch_npu: the torch it is beside must be its own release's, and none for another accelerator.
look_torch_npu() {
  local torch npu
  torch=$(installed torch) npu=$(installed torch_npu)
  if [[ -z $npu ]]; then return; fi
  if cuda_build "$torch"; then
    problem torch-two-devices "torch $torch in .venv is a CUDA build, beside torch_npu $npu: they refuse each other" \
      ".venv 中的 torch $torch 是 CUDA 版，与 torch_npu $npu 冲突" \
      "rm -rf .venv && bash run_all.sh setup --device ascend" "rm -rf .venv && bash run_all.sh setup --device ascend"
  elif [[ ${torch%%+*} != "$(release "$npu")" ]]; then
    problem torch-npu-pair "torch_npu $npu goes with torch $(release "$npu"), not with $torch" \
      "torch_npu $npu 须搭配 torch $(release "$npu")，而不是 $torch" \
      "bash run_all.sh setup --device ascend" "bash run_all.sh setup --device ascend"
  elif [[ $KIND != npu ]]; then
    problem torch-npu-alone "torch_npu in .venv on a host without Ascend: import torch fails" \
      "本机没有昇腾，但 .venv 装了 torch_npu：import torch 会失败" \
      ".venv/bin/python -m pip uninstall torch-npu" ".venv/bin/python -m pip uninstall torch-npu"
  fi
}

# installed PACKAGE: its version in .venv, out of the name of its metadata; nothing where it is not there.
installed() {
  local path
  for path in "$ROOT$PWD"/.venv/lib/python3*/site-packages/"$1"-[0-9]*.dist-info; do
    if [[ -d $path ]]; then
      path=${path##*/"$1"-}
      printf '%s\n' "${path%.dist-info}"
      return
    fi
  done
}

# release VERSION: its numbers: of 2.10.0.post4, 2.10.0.
release() { [[ $1 =~ ^[0-9]+\.[0-9]+\.[0-9]+ ]] && printf '%s\n' "${BASH_REMATCH[0]}"; }

# cuda_build VERSION: whether the torch of that version in .venv wants NVIDIA's libraries.
cuda_build() {
  local path
  if [[ $1 == *+cu[0-9]* ]]; then return 0; fi
  for path in "$ROOT$PWD"/.venv/lib/python3*/site-packages/"torch-$1.dist-info/METADATA"; do
    if grep -qE '^Requires-Dist: (nvidia|cuda)-' "$path" 2>/dev/null; then return 0; fi
  done
  return 1
}
