#!/usr/bin/env bash
# Make ready what the service `serve` serves: DANLU_WEIGHT, else the newest in out/, else the starter's, trained in
# minutes; exported where they are not. Then out/.serving leads to the export.
# 备好 serve 服务的模型：DANLU_WEIGHT 指定的，或 out/ 中最新的，或几分钟训练出的入门模型；未导出则先导出，
# 再让 out/.serving 指向它。
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/lib.sh
source launch/weights.sh
source launch/engine.sh

main() {
  local there
  options "${BASH_SOURCE[0]}" "$@"
  need_owner
  if [[ -n ${DANLU_WEIGHT:-} ]]; then OPT[weight]=$DANLU_WEIGHT; fi
  weights
  export_of_weights
  there=$(realpath --canonicalize-missing -- "$FOLDER") # missing: in a dry run
  if [[ $there != "$PWD/"* ]]; then
    die "$(t "$FOLDER is outside the clone, which is all a container sees" "$FOLDER 在仓库之外，容器只能看到仓库")" \
      "$(t "copy it into out/" "复制到 out/ 中")"
  fi
  run mkdir -p out
  run ln -sfn "../${there#"$PWD/"}" out/.serving
  say "$(t "to be served" "将提供服务"): $FOLDER"
}

# need_owner: refuse to be somebody who cannot write the clone.
need_owner() {
  local wanted
  if [[ -w . ]]; then return; fi
  wanted=$(stat -c 'DANLU_UID=%u DANLU_GID=%g' .)
  die "$(t "this container is user $(id -u), who cannot write the clone" "容器用户为 $(id -u)，无法写入仓库")" \
    "$wanted docker compose up; $(t "or both lines in .env" "或写入 .env")"
}

main "$@"
