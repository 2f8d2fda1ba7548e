#!/bin/sh
# Put the C++ compiler that torch.compile wants into a Debian image that is being built.
#
# DEBIAN_MIRROR: another place than deb.debian.org; the image does not remember it.
set -eu

# matrix: debian='{indexes.debian}'
debian='http://deb.debian.org'
if command -v c++ >/dev/null; then exit; fi
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
mkdir "$sources/sources.list.d"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
  file=${file#/etc/apt/}
  if [ -f "/etc/apt/$file" ]; then sed "s|$debian|${DEBIAN_MIRROR:-$debian}|" "/etc/apt/$file" >"$sources/$file"; fi
done
chmod -R a+rX "$sources"
if [ -s /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi
apt() { DEBIAN_FRONTEND=noninteractive apt-get -o "Dir::Etc::SourceList=$sources/sources.list" -o "Dir::Etc::SourceParts=$sources/sources.list.d" "$@"; }
apt update
apt install --yes --no-install-recommends g++
