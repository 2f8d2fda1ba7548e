#!/bin/sh
# Put packages into the Python of an image that is being built, and change none that came with it.
#
#   install.sh torch==2.13.0 -r base.txt      words for pip
#
# Heeded where they are there: the build's secrets `pip` (a pip.conf), `index` (an index's address) and `ca` (certificates
# of one's own), and the wheels in /wheels; with OFFLINE=1 these alone. Nothing of it stays in the image.
set -eu

secrets=/run/secrets
export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_FIND_LINKS=/wheels
if [ -s $secrets/pip ]; then export PIP_CONFIG_FILE=$secrets/pip; fi
if [ -s $secrets/ca ]; then export PIP_CERT=$secrets/ca; fi
if [ -s $secrets/index ]; then
  PIP_INDEX_URL=$(cat $secrets/index)
  export PIP_INDEX_URL
fi
if [ -n "${OFFLINE:-}" ]; then export PIP_NO_INDEX=1; fi

kept=$(mktemp)
trap 'rm -f "$kept"' EXIT
python3 /image/keep.py /requirements >"$kept"
python3 -m pip install --constraint "$kept" "$@"
