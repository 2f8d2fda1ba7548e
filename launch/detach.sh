# shellcheck shell=bash
# A story that goes on without this terminal. Part of run_all.sh.
#
# It is run_all.sh again, as `run_all.sh --detached ...`, by which `status` and `stop` know it for as long as it runs; what
# it says goes to a file under out/logs.

# detaches: whether what was asked for trains, and is to be left alone with it. (A server alone detaches by itself.)
detaches() {
  local name
  if [[ ${DRY_RUN:-0} == 1 || -n ${DANLU_DETACHED:-} || " ${GIVEN[*]} ${REST[*]} " != *' --detach '* ]]; then return 1; fi
  for name in "${STEPS[@]}"; do
    if [[ $(launcher "$name") == launch/train.sh ]]; then return; fi
  done
  return 1
}

# detach: the story in the background, told of here until training has begun.
detach() {
  local log
  log="out/logs/$(date +%Y%m%d-%H%M%S)-$(printf '%s\n' "${STEPS[@]}" | paste -s -d - -)-$$.log"
  need_writable out/logs
  mkdir -p out/logs
  : >"$log" # who watches may be there before who writes
  set -m    # a group of its own: this terminal's Ctrl-C is not meant for it
  nohup bash run_all.sh --detached "${GIVEN[@]}" "${STEPS[@]}" "${REST[@]}" </dev/null >"$log" 2>&1 &
  set +m
  say "$(t "it goes on without this terminal: bash run_all.sh logs --follow $log; bash run_all.sh stop $!" \
    "已转入后台：bash run_all.sh logs --follow $log；bash run_all.sh stop $!")"
  if [[ ${NODE_RANK:-0} == 0 ]]; then watch_until_it_trains "$!" "$log"; fi # the others of several hosts say little
}

# watch_until_it_trains PID LOG: show what it says; where it ends instead, we end as it did.
watch_until_it_trains() {
  local piece line='' status=0 ended=0
  say "$(t "what it says until it trains; Ctrl-C leaves it alone" "以下是开始训练前的输出，Ctrl-C 不影响它")"
  while true; do
    if ! kill -s 0 "$1" 2>/dev/null; then ended=1; fi # asked before reading: nothing is missed that it said last
    while IFS= read -r piece; do
      line+=$piece
      printf '%s\n' "$line" >&2
      if [[ $line =~ ^step\ [0-9,]+(/|\ ) ]]; then return; fi
      line=''
    done
    line+=$piece # the rest of it comes later
    if ((ended)); then
      wait "$1" || status=$?
      exit "$status"
    fi
    sleep 0.2
  done <"$2"
}
