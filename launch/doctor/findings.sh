# shellcheck shell=bash
# What the doctor found: a list, and how it is printed. A finding has an identity that never changes, a level, and
# both languages:
#
#   ok       ID ENGLISH CHINESE                    as it should be
#   note     ID ENGLISH CHINESE REMEDY 办法         works, with something missing
#   problem  ID ENGLISH CHINESE REMEDY 办法         blocks

FOUND=() # six entries a finding: level, identity, English, Chinese, and the remedy in both

# ok ID ENGLISH CHINESE: add what is as it should be.
ok() { FOUND+=(ok "$1" "$2" "$3" '' ''); }

# note ID ENGLISH CHINESE REMEDY 办法: add what works only in part.
note() { FOUND+=(note "$@"); }

# problem ID ENGLISH CHINESE REMEDY 办法: add what blocks.
problem() { FOUND+=(problem "$@"); }

# contained ID ENGLISH CHINESE REMEDY 办法: add what blocks containers: a note where nobody asked for one.
contained() {
  if [[ ${OPT[runtime]:-host} == docker ]]; then problem "$@"; else note "$@"; fi
}

# found LEVEL: how many findings there are of that level.
found() {
  local i number=0
  for ((i = 0; i < ${#FOUND[@]}; i += 6)); do
    if [[ ${FOUND[i]} == "$1" ]]; then number=$((number + 1)); fi
  done
  printf '%s\n' "$number"
}

# report [LEVEL...]: the findings of these levels, of all without one, as a table; remedies below what they mend.
report() {
  local i level levels=" ${*:-ok note problem} "
  local -A name=([ok]="$(t 'ok     ' 正常)" [note]="$(t 'note   ' 提示)" [problem]="$(t problem 问题)")
  for ((i = 0; i < ${#FOUND[@]}; i += 6)); do
    level=${FOUND[i]}
    if [[ $levels != *" $level "* ]]; then continue; fi
    printf '%s  %-22s %s\n' "${name[$level]}" "${FOUND[i + 1]}" "$(t "${FOUND[i + 2]}" "${FOUND[i + 3]}")"
    if [[ $level != ok ]]; then
      printf '%31s %s: %s\n' '' "$(t try 试试)" "$(t "${FOUND[i + 4]}" "${FOUND[i + 5]}")"
    fi
  done
}

# report_faults: what is not as it should be, to standard error: for a launcher that has just failed.
report_faults() { report problem note >&2; }

# summary_line: how many problems and notes there are.
summary_line() {
  local problems notes
  problems=$(found problem) notes=$(found note)
  if ((problems > 0)); then
    t "$problems problem(s), $notes note(s): what blocks stands above with its remedy" \
      "$problems 个问题，$notes 条提示：请按上面的办法处理问题"
  else
    t "nothing blocks; $notes note(s)" "没有阻碍；$notes 条提示"
  fi
  printf '\n'
}

# json_string TEXT: the text as JSON writes it.
json_string() {
  local text=$1 slash="\\" slashes="\\\\" quote="\\\""
  text=${text//"$slash"/"$slashes"}
  text=${text//'"'/"$quote"}
  text=${text//$'\n'/ }
  printf '"%s"' "${text//[[:cntrl:]]/ }"
}

# json_pair ENGLISH CHINESE: both languages of a text.
json_pair() { printf '{"en": %s, "zh": %s}' "$(json_string "$1")" "$(json_string "$2")"; }

# report_json: the findings as JSON, one a line.
report_json() {
  local i comma='' remedy
  printf '{"system": "%s", "machine": "%s", "device": "%s", "problems": %s, "notes": %s, "findings": [' \
    "$SYSTEM" "$MACHINE" "$KIND" "$(found problem)" "$(found note)"
  for ((i = 0; i < ${#FOUND[@]}; i += 6)); do
    remedy=null
    if [[ ${FOUND[i]} != ok ]]; then remedy=$(json_pair "${FOUND[i + 4]}" "${FOUND[i + 5]}"); fi
    printf '%s\n  {"id": "%s", "level": "%s", "text": %s, "remedy": %s}' "$comma" "${FOUND[i + 1]}" "${FOUND[i]}" \
      "$(json_pair "${FOUND[i + 2]}" "${FOUND[i + 3]}")" "$remedy"
    comma=,
  done
  printf '\n]}\n'
}
