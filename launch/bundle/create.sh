# shellcheck shell=bash
# Making a bundle. Part of launch/bundle.sh.
#
# A bundle is a folder: NAME.tar, or NAME.tar.000 and so on, for each of source, wheels, image-..., weight-..., data-...;
# `about` what it fits, SHA256SUMS, which comes last, and install.sh. `.made/NAME` holds from what a part was made, and
# `.made/NAME.sums` its files' checksums: a part that is there, made from what there is, is not made again.

MADE=()  # the parts of the bundle that is made
PATHS=() # of those that are folders or files of the clone: their names and where they belong

# create: all parts that were asked for, then the list of their checksums.
create() {
  local name
  KIND=$(accelerator)
  BUNDLE=${OPT[out]:-dist/bundle}
  check_create
  EXTRAS=convert,serve
  for name in ${OPT[extra]:-}; do EXTRAS+=,$name; done
  run mkdir -p "$BUNDLE/.made"
  run rm -f "$BUNDLE/SHA256SUMS"
  list_source
  part source "$(tar -cf - --null --files-from "$LIST" | cksum)" tar -cf - --null --files-from "$LIST"
  wheels
  images
  for name in ${OPT[weight]:-}; do folder weight "$(weight_folder "$name")"; done
  while IFS= read -r name; do if [[ -n $name ]]; then folder data "$name"; fi; done <<<"${OPT[data]:-}"
  if [[ ${DRY_RUN:-0} != 1 ]]; then complete; fi
}

# check_create: refuse what cannot work before anything is made.
check_create() {
  local name
  need_writable "$BUNDLE"
  if [[ ! ${OPT[split]:-1G} =~ ^[1-9][0-9]*[KMGT]?$ ]]; then die "--split ${OPT[split]}?" "--split 700M, --split 4G"; fi
  if [[ -n ${OPT[wheels]:-} ]] && ! compgen -G "${OPT[wheels]}/*.whl" >/dev/null; then
    die "$(t "no packages (*.whl) in ${OPT[wheels]}" "${OPT[wheels]} 中没有依赖包（*.whl）")" "pip download --dest ${OPT[wheels]} ..."
  fi
  for name in ${OPT[weight]:-}; do weight_folder "$name" >/dev/null; done
  while IFS= read -r name; do if [[ -n $name ]]; then in_clone "$name" >/dev/null; fi; done <<<"${OPT[data]:-}"
}

# list_source: in the file LIST, the names of the clone's own files, each ended by a zero.
list_source() {
  local ignored=() name
  LIST=$(mktemp "${TMPDIR:-/tmp}/danlu.XXXXXX")
  trap 'rm -f -- "$LIST" "${DANLU_PLAN:-$LIST}"' EXIT
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -z | while IFS= read -r -d '' name; do if [[ -e $name ]]; then printf '%s\0' "$name"; fi; done >"$LIST"
    return
  fi
  while IFS= read -r name; do if [[ $name == /* ]]; then ignored+=(-path ".${name%/}" -prune -o); fi; done <.gitignore
  find . "${ignored[@]}" -name __pycache__ -prune -o ! -type d -print0 | sort -z >"$LIST"
}

# part NAME STAMP COMMAND...: the bundle's part of that name: what the command writes, cut into files; unless it is there.
part() {
  local name=$1 making=$BUNDLE/.made/making
  MADE+=("$name")
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    run "${@:3}"
    return
  elif [[ $(cat "$BUNDLE/.made/$name" 2>/dev/null) == "$2 ${OPT[split]:-}" ]] && all_there "$name"; then
    say "$(t "there already" "已有"): $name"
    return
  fi
  say "$(t "packing" "打包"): $name"
  forget "$name"
  mkdir "$making"
  "${@:3}" | cut_up "$making/$name.tar"
  (cd "$making" && sha256 -- *) >"$BUNDLE/.made/$name.sums"
  mv "$making"/* "$BUNDLE"
  rmdir "$making"
  printf '%s\n' "$2 ${OPT[split]:-}" >"$BUNDLE/.made/$name"
}

# all_there NAME: whether a part's files are.
all_there() {
  local file
  while read -r _ file; do if [[ ! -f $BUNDLE/$file ]]; then return 1; fi; done <"$BUNDLE/.made/$1.sums"
}

# forget NAME: remove a part, whole or half made.
forget() {
  rm -rf "$BUNDLE/.made/making" "$BUNDLE/.made/$1" "$BUNDLE/.made/$1.sums"
  rm -f "$BUNDLE/$1.tar" "$BUNDLE/$1.tar".[0-9]*
}

# cut_up FILE: what is read, in FILE, or in FILE.000 and so on where it is larger than --split.
cut_up() {
  if [[ -z ${OPT[split]:-} ]]; then
    cat >"$1"
    return
  fi
  split -b "${OPT[split]}" -a 3 -d - "$1."
  if [[ ! -e $1.001 ]]; then mv "$1.000" "$1"; fi
}

# wheels: the packages that setup needs on such a host.
wheels() {
  local from=${OPT[wheels]:-}
  if [[ -n $from ]]; then
    part wheels "$(state "$from")" tar -cf - -C "$from" .
    return
  fi
  need_environment base
  from=$BUNDLE/.made/packages
  if [[ ! -f $from.ready || $(<"$from.ready") != "$KIND $EXTRAS $(stamp base)" ]]; then
    gather "$from"
    if [[ ${DRY_RUN:-0} != 1 ]]; then printf '%s\n' "$KIND $EXTRAS $(stamp base)" >"$from.ready"; fi
  fi
  part wheels "$KIND $EXTRAS $(stamp base)" tar -cf - -C "$from" .
}

# gather FOLDER: download them there; what is there already is not loaded again.
gather() {
  local torch version index=()
  local words=(wheel --wheel-dir "$1" --find-links "$1")
  version=$(matrix torch "$KIND")
  torch=torch==$version
  if [[ -n ${OPT[mirror]:-} ]]; then
    PIP_INDEX_URL=$(matrix mirrors pypi)
    export PIP_INDEX_URL
  fi
  if [[ $KIND != cuda && $(system) != macos ]]; then
    torch+=+cpu
    if ! requires .venv "$torch" >/dev/null; then index=(--index-url "$(matrix "${OPT[mirror]:+mirrors}${OPT[mirror]:-indexes}" torch_cpu)"); fi
  fi
  say "$(t "gathering packages" "收集依赖包")"
  pip .venv "${words[@]}" "pip==$(matrix packages pip)" --constraint .venv/constraints.txt hatchling
  pip .venv "${words[@]}" --no-deps "$torch" "${index[@]}"
  if [[ $KIND == npu ]]; then pip .venv "${words[@]}" --no-deps "torch-npu==$(matrix ascend torch_npu)"; fi
  pip .venv "${words[@]}" --constraint .venv/constraints.txt --no-build-isolation ".[$EXTRAS]"
  run rm -f "$1"/danlu-*.whl # the source itself is in the bundle
}

# images: the images named, or those of this device that are here.
images() {
  local name wanted=()
  read -rd '' -ra wanted <<<"${OPT[image]:-}" || ((${#wanted[@]} >= 0))
  if [[ ${wanted[*]} == none ]]; then return; fi
  choose_engine
  if ((${#wanted[@]})); then
    need_engine
  elif [[ -n $(type -P "$CONTAINERS") ]]; then
    for name in "$(train_image "$KIND")" "$(matrix serve_images "$KIND")" "$(matrix gateway image)"; do
      if "$CONTAINERS" image inspect "$name" >/dev/null 2>&1; then wanted+=("$name"); fi
    done
  fi
  for name in "${wanted[@]}"; do
    part "image-${name//[^A-Za-z0-9.-]/_}" "$(image_id "$name")" "$CONTAINERS" save "$name"
  done
}

# image_id NAME: which image that is; refuse one that is not here.
image_id() {
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  if ! "$CONTAINERS" image inspect --format '{{.Id}}' "$1" 2>/dev/null; then
    die "$(t "there is no image $1 here" "本机没有镜像 $1")" "bash run_all.sh build; --image none"
  fi
}

# weight_folder NAME: the folder of finished weights that a name means.
weight_folder() {
  local found
  found=$(finished "$1")
  if [[ -z $found && ${DRY_RUN:-0} == 1 ]]; then found=$(would_be "$1"); fi
  if [[ -z $found ]]; then die "$(t "no finished weights '$1' here" "这里没有训练好的权重「$1」")" "ls out/; --weight NAME"; fi
  in_clone "$found"
}

# in_clone PATH: it, as seen from the clone's root; refuse what is not there or lies elsewhere.
in_clone() {
  local path
  if [[ ${DRY_RUN:-0} == 1 && ! -e $1 ]]; then
    printf '%s\n' "$1"
    return
  fi
  if [[ ! -e $1 ]]; then die "$(t "there is no $1" "没有 $1")" "ls data out"; fi
  path=$(realpath "$1")
  if [[ $path != "$PWD"/?* ]]; then
    die "$(t "$1 is outside the clone" "$1 在仓库之外")" "$(t "copy it into data/ or out/" "复制到 data/ 或 out/ 中")"
  fi
  printf '%s\n' "${path#"$PWD"/}"
}

# folder KIND PATH: a part that holds a file or a folder of the clone.
folder() {
  local path
  path=$(in_clone "$2")
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    run tar -cf - "$path"
    return
  fi
  part "$1-${path//[^A-Za-z0-9.-]/_}" "$(state "$path")" tar -cf - "$path"
  PATHS+=("path ${MADE[-1]} $path")
}

# state PATH: of all files there, names, sizes and times, as one number.
state() {
  local about=(-c '%n %s %y')
  if ! stat "${about[@]}" . >/dev/null 2>&1; then about=(-f '%N %z %Fm'); fi
  find "$1" ! -type d -exec stat "${about[@]}" {} + | sort | cksum
}

# complete: drop what was not asked for any more, and write what the bundle is and its checksums, which come last.
complete() {
  local file name
  for file in "$BUNDLE"/.made/*.sums; do
    name=${file##*/} name=${name%.sums}
    if [[ " ${MADE[*]} " != *" $name "* ]]; then forget "$name"; fi
  done
  printf '%s\n' "${PATHS[@]}" "machine $(uname -m)" "kind $KIND" "extras ${EXTRAS//,/ }" \
    "python $([[ -n ${OPT[wheels]:-} ]] || .venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" >"$BUNDLE/about"
  cp launch/bundle/begin.sh "$BUNDLE/install.sh"
  { cat "$BUNDLE"/.made/*.sums && (cd "$BUNDLE" && sha256 about install.sh); } >"$BUNDLE/.made/list"
  mv "$BUNDLE/.made/list" "$BUNDLE/SHA256SUMS"
  rm -rf "$BUNDLE/.made/packages" "$BUNDLE/.made/packages.ready"
  say "$(t "a bundle of ${#MADE[@]} parts" "共 ${#MADE[@]} 部分"): $BUNDLE, $(du -sh "$BUNDLE" | cut -f 1)"
  say "$(t "there" "在目标主机上"): bash install.sh danlu --digest $(digest "$BUNDLE")"
}
