# shellcheck shell=bash disable=SC2153
# Serving an export, by the built-in server or by vLLM. Part of launch/serve.sh and launch/vllm.sh.
#
#   --port N                  where to listen on this host; 8000 unless said
#                             监听端口，默认 8000
#   --max-model-len N         longest text, answer included
#                             最大长度，包括回答
#   --dtype NAME              float32, bfloat16 or float16
#                             数值格式
#   --vllm-image NAME         another image of vLLM than the one pinned
#                             使用其他 vLLM 镜像
#   --detach                  go on without this terminal: then status, logs, stop
#                             转入后台运行，之后用 status、logs、stop

# serve_with BACKEND: the export of the weights asked for, made first where it is not there, and its server.
serve_with() {
  local words=()
  need_port
  no_names
  need_named
  if [[ -z $FOLDER ]] || ! is_exported "$FOLDER"; then
    host_parts base serve convert
    need_words "$1"
  fi
  weights
  export_of_weights
  if [[ -n $TIMES && ${DRY_RUN:-0} != 1 ]]; then say "$(t "made for this" "为此完成"): $TIMES"; fi
  if [[ ${DRY_RUN:-0} != 1 ]]; then
    say "$(t "it is about to be served; in another terminal also: bash run_all.sh chat, status, stop" \
      "即将提供服务；另一终端中还可执行：bash run_all.sh chat、status、stop")"
  fi
  if [[ -n ${OPT[max_model_len]:-} ]]; then words+=(--max-model-len "${OPT[max_model_len]}"); fi
  if [[ -n ${OPT[dtype]:-} ]]; then words+=(--dtype "${OPT[dtype]}"); fi
  "serve_$1" "${words[@]}"
}

# need_port: refuse a port that is taken before minutes are spent on what would be served there.
need_port() {
  local port=${OPT[port]:-8000}
  if [[ ! $port =~ ^[0-9]{1,5}$ ]] || ((port > 65535)); then die "--port $port: $(t "not a port" "不是端口")" "--port 8000"; fi
  if [[ ${DRY_RUN:-0} != 1 ]] && ((port > 0)) && (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null; then
    die "$(t "port $port is taken" "端口 $port 已被占用")" "--port N; $(t "what runs here" "查看占用"): bash run_all.sh status"
  fi
}

# need_words BACKEND: refuse words that the built-in server would not take, before minutes are spent on what it serves.
need_words() {
  if [[ $1 != builtin || -n ${OPT[detach]:-} || ${OPT[runtime]:-host} != host ]]; then return; fi # danlu vllm takes any
  if ((${#WORDS[@]} == 0)) || [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  # With --help among them all words are read, and nothing is done.
  "${DANLU_PYTHON:-.venv/bin/python}" -m danlu serve --help . "${WORDS[@]}" >/dev/null || exit
}

# backend: which server fits this host when nobody says: vLLM on an accelerator where it runs, else the built-in one.
backend() {
  case ${OPT[backend]:-} in
    builtin | vllm) echo "${OPT[backend]}" ;;
    '') if [[ $(accelerator) != cpu && " $(matrix vllm systems) " == *" $(system) "* ]]; then echo vllm; else echo builtin; fi ;;
    *) die "--backend ${OPT[backend]}?" "--backend vllm, --backend builtin" ;;
  esac
}

# serve_builtin WORDS...: the built-in server, with the page; what detaches it on a host keeps it for status and stop.
serve_builtin() {
  local words=(--port "${OPT[port]:-8000}" "$@")
  if [[ -n ${OPT[detach]:-} && ${OPT[runtime]:-host} == host ]]; then
    words+=(--backend builtin --device "$(accelerator)" --detach)
    if [[ -n ${OPT[devices]:-} ]]; then words+=(--devices "${OPT[devices]}"); fi
    engine 'base serve' -m danlu vllm "$FOLDER" "${words[@]}" "${WORDS[@]}"
    return
  fi
  if [[ -n ${OPT[device]:-} ]]; then words+=(--device "$(accelerator)"); fi
  engine 'base serve' -m danlu serve "$FOLDER" "${words[@]}" "${WORDS[@]}"
}

# serve_vllm WORDS...: vLLM, from its own environment or its own container, or what danlu vllm finds to serve instead.
serve_vllm() {
  local words=("$FOLDER" --device "$(accelerator)" --port "${OPT[port]:-8000}" "$@")
  if [[ -n ${OPT[devices]:-} ]]; then words+=(--devices "${OPT[devices]}"); fi
  if [[ -n ${OPT[runtime]:-} ]]; then words+=(--runtime "${OPT[runtime]}"); fi
  if [[ -n ${OPT[vllm_image]:-} ]]; then words+=(--image "${OPT[vllm_image]}"); fi
  if [[ -n ${OPT[detach]:-} ]]; then words+=(--detach); fi
  OPT[runtime]=host # danlu vllm starts its container itself, and chooses devices
  words+=("${WORDS[@]}")
  need_environment base serve
  need_vllm "${words[@]}"
  OPT[devices]=''
  engine 'base serve' -m danlu vllm "${words[@]}"
}

# need_vllm WORDS: vLLM's own environment, where these words would start one from it.
need_vllm() {
  if [[ ${DRY_RUN:-0} == 1 ]]; then return; fi
  if [[ $(.venv/bin/python -m danlu vllm "$@" --needs) == vllm ]]; then
    TIMES=''
    timed 'setup --with vllm' attended bash launch/setup.sh --with vllm --device "$(accelerator)" ${OPT[mirror]:+--mirror} ${OPT[offline]:+--offline}
    say "$(t "made for this" "为此完成"): $TIMES"
  fi
}
