#!/usr/bin/env bash
# Install Danlu from the bundle in which this lies, without a network.
# 从所在的 bundle 安装 Danlu，不用网络。
#
#   bash install.sh [FOLDER] [OPTIONS]     into FOLDER, or ./danlu; options: those of bundle install
#                                          安装到 FOLDER，默认 ./danlu；选项同 bundle install
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
there=danlu

# sha256 WORDS...: the checksums' tool of this host.
sha256() {
  if [[ -n $(type -P sha256sum) ]]; then sha256sum "$@"; else shasum --algorithm 256 "$@"; fi
}

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"
  exit
elif [[ $# -gt 0 && $1 != --* ]]; then
  there=$1
  shift
fi

# The source alone is looked at here; what it brings looks at all the rest.
if ! (cd "$here" && grep -E '  ?[ *]?source\.tar(\.[0-9]+)?$' SHA256SUMS | sha256 --check --quiet -); then
  printf '%s\n' "error: the bundle's source is not what it was / 源码与原来不符" "  try: copy the bundle again / 重新复制" >&2
  exit 2
fi
mkdir -p "$there"
cat "$here"/source.tar* | tar -xf - -C "$there"
exec bash "$there/run_all.sh" bundle install "$here" "$@"
