# shellcheck shell=bash
# What a failed command's last words mean, from configs/failures.yaml; a launcher sources this after launch/lib.sh.
#
#   explained COMMAND...    run it; where it fails, what its last lines mean and what to do next
#   explain FILE...         the same of logs
#
# The command keeps the standard input, the signals and, on a terminal, the standard output it would have had. All
# else it says is read in passing. Its standard error is then no terminal to it, so DANLU_TERMINAL=1 says that what is
# drawn there is seen on one.

declare -A FAILURE=()  # "ID KEY": what configs/failures.yaml says there
declare -a FAILURES=() # the IDs, in its order
KEPT_LINES=200         # of what a command said
SHOWN_LINES=15         # of these, shown once more when it failed
SHOWN_WIDTH=200        # of one of them
# What libraries say of themselves on their way out.
NOISE='nanobind|leaked|resource_tracker|warnings\.warn|refleaks|^ *$'

# read_failures: fill FAILURE and FAILURES, once.
read_failures() {
  local LC_ALL=C line id='' head='^([a-z0-9_]+):$' entry="^  ([a-z_]+): ['\"](.*)['\"]\$"
  if ((${#FAILURES[@]} > 0)); then return; fi
  while IFS= read -r line; do
    if [[ $line =~ $head ]]; then
      id=${BASH_REMATCH[1]}
      FAILURES+=("$id")
    elif [[ $line =~ $entry ]]; then
      FAILURE["$id ${BASH_REMATCH[1]}"]=${BASH_REMATCH[2]//"''"/"'"}
    fi
  done <configs/failures.yaml
}

# plain: text from standard input without colours; what was written over becomes a line of its own.
plain() { LC_ALL=C tr '\r\000' '[\n*]' | LC_ALL=C sed $'s/\e\\[[0-9;?]*[A-Za-z]//g'; }

# suspicious FILE...: those of their lines that tell some known failure.
suspicious() {
  local LC_ALL=C id patterns=''
  for id in "${FAILURES[@]}"; do patterns+=${FAILURE["$id pattern"]}$'\n'; done
  cat -- "$@" | plain | grep -E -e "${patterns%$'\n'}" || return 0
}

# find_failures FILE...: the known failures in these logs, in the order of appearance: found, first line, times.
find_failures() {
  local LC_ALL=C line id vague=()
  read_failures
  while IFS= read -r line; do
    for id in "${FAILURES[@]}"; do
      if [[ $line =~ ${FAILURE["$id pattern"]} ]]; then break; fi
    done
    if [[ -z ${times[$id]:-} ]]; then
      first[$id]=$line
      if [[ -n ${FAILURE["$id vague"]:-} ]]; then vague+=("$id"); else found+=("$id"); fi
    fi
    times[$id]=$((${times[$id]:-0} + 1))
  done < <(suspicious "$@")
  found+=("${vague[@]}")
}

# explain FILE...: what the known failures in these logs mean, and what to do next; fails where there are none.
explain() {
  local id language='' note attempt often found=()
  local -A first=() times=()
  if [[ $DANLU_LANG == zh ]]; then language=_zh; fi
  note=$(t note 提示) attempt=$(t try 试试)
  find_failures "$@"
  for id in "${found[@]}"; do
    often=''
    if ((times[$id] > 1)); then often=$(t " (${times[$id]} times)" "（${times[$id]} 次）"); fi
    printf '%s: %s [%s]%s\n' "$note" "${FAILURE["$id cause$language"]}" "$id" "$often"
    printf '  | %s\n  %s: %s\n' "${first[$id]:0:SHOWN_WIDTH}" "$attempt" "${FAILURE["$id next$language"]}"
  done >&2
  ((${#found[@]} > 0))
}

# explained COMMAND...: run it; where it fails, its last lines and what the known ones of them mean.
explained() {
  local kept keeper seen=() status=0
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    run "$@"
    return
  fi
  if [[ -t 2 ]]; then seen=(env DANLU_TERMINAL=1); fi
  kept=$(mktemp -d "${TMPDIR:-/tmp}/danlu.XXXXXX")
  exec 7> >(trap '' INT TERM HUP && plain | tail -n "$KEPT_LINES" >"$kept/last")
  keeper=$!
  if [[ -t 1 ]]; then exec 8>&1; else exec 8> >(copied); fi
  exec 9> >(copied 8>&- >&2)
  attended "${seen[@]}" "$@" >&8 2>&9 7>&- 8>&- 9>&- || status=$?
  exec 7>&- 8>&- 9>&-
  settle
  if ((status > 0 && status != 2 && status != 130 && status != 143)); then post_mortem "$@"; fi
  rm -rf -- "$kept"
  return "$status"
}

# copied: what comes from standard input to standard output, and to whoever keeps the last lines.
copied() {
  trap '' INT TERM HUP
  exec tee /dev/fd/7
}

# settle: wait until all that was said has been read; not for long, since what it left running may still talk.
settle() {
  local turns=150
  while ((turns--)) && kill -s 0 "$keeper" 2>/dev/null; do sleep 0.02; done
}

# post_mortem COMMAND...: show the last lines of what failed with `status`, keep them, and explain them.
post_mortem() {
  local line word log=out/logs/failed.log
  for word in "$@"; do
    if [[ $word != env && $word != *=* ]]; then break; fi
  done
  printf '%s: %s\n' "$(t error 错误)" "$(t "$word ended with $status; its last lines:" "$word 以 $status 结束，最后几行：")" >&2
  while IFS= read -r line; do
    printf '  | %s\n' "${line:0:SHOWN_WIDTH}" >&2
  done < <(LC_ALL=C grep -aEv "$NOISE" "$kept/last" | tail -n "$SHOWN_LINES")
  printf 'exit code %s\n' "$status" >>"$kept/last"
  if mkdir -p out/logs 2>/dev/null && cp "$kept/last" "$log" 2>/dev/null; then
    printf '  %s: %s\n' "$(t more 更多)" "$log" >&2
  fi
  explain "$kept/last" || return 0
}
