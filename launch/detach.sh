# shellcheck shell=bash
# A story that goes on without this terminal. Part of run_all.sh.
#
# Its words go to a file under out/logs; `bash run_all.sh status`, `logs` and `stop` find it while it runs. It is
# run_all.sh again, with DANLU_DETACHED in place of --detach: by that the two can be told apart.

# detaches: whether what was asked for trains, and is to be left alone with it. (A server alone detaches by itself.)
detaches() {
  local name
  if [[ ${DRY_RUN:-0} == 1 || -n ${DANLU_DETACHED:-} || " ${GIVEN[*]} " != *' --detach '* ]]; then return 1; fi
  for name in "${STEPS[@]}"; do
    if [[ $(launcher "$name") == launch/train.sh ]]; then return; fi
  done
  return 1
}

# detach WORDS...: these words of run_all.sh in the background, told of here until training has begun.
detach() {
  local log word words=()
  for word in "$@"; do
    if [[ $word != --detach ]]; then words+=("$word"); fi
  done
  log="out/logs/$(date +%Y%m%d-%H%M%S)-$(printf '%s\n' "${STEPS[@]}" | paste -s -d - -).log"
  need_writable out/logs
  mkdir -p out/logs
  set -m # a group of its own: this terminal's Ctrl-C is not meant for it
  DANLU_DETACHED=1 nohup bash run_all.sh "${words[@]}" </dev/null >"$log" 2>&1 &
  set +m
  say "$(t "it goes on without this terminal; what it says until it trains (Ctrl-C leaves it alone):" \
    "已转入后台；以下是开始训练前的输出（Ctrl-C 不影响它）：")"
  watch_until_it_trains "$!" "$log"
  say "$(t "what it says: bash run_all.sh logs --follow $log; to end it: bash run_all.sh stop $!" \
    "查看输出：bash run_all.sh logs --follow $log；停止：bash run_all.sh stop $!")"
}

# watch_until_it_trains PID LOG: show what it says; where it ends instead, we end as it did.
watch_until_it_trains() {
  local piece line='' status=0 ended=0
  while true; do
    if ! kill -s 0 "$1" 2>/dev/null; then ended=1; fi # asked before reading: nothing is missed that it said last
    while IFS= read -r piece; do
      line+=$piece
      printf '%s\n' "$line" >&2
      if [[ $line =~ ^step\ [0-9]+/ ]]; then return; fi
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
