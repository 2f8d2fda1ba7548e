# shellcheck shell=bash
# Checking a bundle, and putting what it holds in its place. Part of launch/bundle.sh.
#
# `.bundle/NAME` in the clone holds the checksums of a part that is in its place: it is not put there again.

# verify FOLDER: every file of the bundle is there, is what it was, and there is none besides.
verify() {
  local bad=() line
  if [[ ${DRY_RUN:-0} == 1 && ! -e $1 ]]; then
    run sha256sum --check --quiet "$1/SHA256SUMS"
    return
  fi
  if [[ ! -f $1/SHA256SUMS ]]; then
    die "$(t "$1: no bundle, or one that was not finished (no SHA256SUMS)" "$1：不是 bundle，或未完成（没有 SHA256SUMS）")" \
      "bash run_all.sh bundle create --out $1"
  elif [[ -n ${OPT[digest]:-} && $(digest "$1") != "${OPT[digest]}" ]]; then
    die "$(t "$1: the list of checksums is not the one that was made: $(digest "$1")" "$1：校验清单不是原来的那一份：$(digest "$1")")" \
      "$(t "copy the bundle again, or ask who made it" "重新复制，或询问制作者")"
  fi
  say "$(t "checking" "校验"): $1"
  while IFS= read -r line; do bad+=("${line%%: *}"); done < <(cd "$1" && sha256 --check --quiet SHA256SUMS 2>/dev/null)
  while IFS= read -r line; do bad+=("$line"); done < <(unlisted "$1")
  if ((${#bad[@]})); then
    die "$(t "not what they were: ${bad[*]}" "与原来不符：${bad[*]}")" "$(t "copy these again" "重新复制这些文件")"
  fi
  say "$(t "whole" "完整"): $1"
}

# unlisted FOLDER: the files of its parts that its list does not name.
unlisted() {
  local file
  for file in "$1"/*.tar "$1"/*.tar.[0-9]*; do
    if [[ -e $file ]] && ! grep -qE "^[0-9a-f]{64} [ *]${file##*/}\$" "$1/SHA256SUMS"; then printf '%s\n' "${file##*/}"; fi
  done
}

# install_from FOLDER: all that the bundle there holds, into this clone, then its environment; no network is used.
install_from() {
  local name from
  if [[ ! -d $1 ]]; then die "$(t "there is no folder $1" "没有目录 $1")" "bash run_all.sh bundle install DIR"; fi
  from=$(realpath "$1")
  verify "$from"
  fits_here "$from"
  need_writable .bundle wheels data out
  for name in $(parts_of "$from"); do
    if [[ $name != source ]]; then place "$from" "$name"; fi
  done
  if [[ -n ${OPT[no_setup]:-} ]]; then return; fi
  set_up "$from"
}

# about FOLDER WORD: what the bundle says of itself under that word.
about() { sed -n "s/^$2 //p" "$1/about"; }

# fits_here FOLDER: refuse a bundle for other processors.
fits_here() {
  local machine
  machine=$(about "$1" machine)
  if [[ $machine != "$(uname -m)" ]]; then
    die "$(t "this bundle is for $machine; this host is $(uname -m)" "此 bundle 面向 $machine，本机为 $(uname -m)")" \
      "$(t "make one on a host like this" "在与本机相同的主机上制作")"
  fi
}

# parts_of FOLDER: the names of its parts, one a line.
parts_of() { sed -nE 's/^[0-9a-f]{64} [ *](.*)\.tar(\.[0-9]+)?$/\1/p' "$1/SHA256SUMS" | sort -u; }

# content FOLDER NAME: a part's bytes, put together.
content() { (cd "$1" && sed -nE "s/^[0-9a-f]{64} [ *]($2\.tar(\.[0-9]+)?)\$/\1/p" SHA256SUMS | sort | xargs cat); }

# place FOLDER NAME: a part, where it belongs; not again, and not over what somebody else put there.
place() {
  local sums aside=.bundle/aside path
  sums=$(grep -E " [ *]$2\.tar(\.[0-9]+)?\$" "$1/SHA256SUMS" | cksum)
  if [[ $(cat ".bundle/$2" 2>/dev/null) == "$sums" ]]; then
    say "$(t "there already" "已有"): $2"
    return
  fi
  say "$(t "unpacking" "解开"): $2"
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  rm -rf "$aside"
  mkdir -p "$aside"
  case $2 in
    image-*) if ! load_image "$1" "$2"; then return; fi ;;
    wheels)
      content "$1" "$2" | tar -xf - -C "$aside"
      mkdir -p wheels
      find "$aside" -name '*.whl' -exec mv -f {} wheels/ \;
      ;;
    *)
      content "$1" "$2" | tar -xf - -C "$aside"
      path=$(about "$1" "path $2")
      into_place "$aside" "$path" "$2"
      ;;
  esac
  rm -rf "$aside"
  printf '%s\n' "$sums" >".bundle/$2"
}

# into_place ASIDE PATH NAME: what was unpacked, to its path in the clone; what is there from an earlier bundle gives way.
into_place() {
  if [[ -e $2 && ! -f .bundle/$3 ]] && ! diff -qr "$1/$2" "$2" >/dev/null; then
    die "$(t "$2 is here already, and is another" "已有 $2，且内容不同")" "mv $2 $2.old; $(t "then again" "然后重试")"
  fi
  mkdir -p "$(dirname "$2")"
  rm -rf "$2"
  mv "$1/$2" "$2"
}

# load_image FOLDER NAME: give an image to this host's container engine; where there is none, say so and fail.
load_image() {
  choose_engine
  if [[ -z $(type -P "$CONTAINERS") ]] || ! "$CONTAINERS" info >/dev/null 2>&1; then
    warn "$2: $(t "no container engine answers here; the image stays in the bundle" "本机没有可用的容器引擎，镜像留在 bundle 中")" \
      "$(t "start it, then again; or go on without images" "启动后重试；或不用镜像")"
    return 1
  fi
  content "$1" "$2" | "$CONTAINERS" load
}

# set_up FOLDER: the trainer's environment from the bundle's packages alone.
set_up() {
  local words=(--offline --device "$(about "$1" kind)") name
  for name in $(about "$1" extras); do words+=(--extra "$name"); done
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    run bash launch/setup.sh "${words[@]}"
    return
  fi
  attended bash launch/setup.sh "${words[@]}"
}
