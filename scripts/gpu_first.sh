#!/usr/bin/env bash
# What to run first on a machine with a GPU, in this order; docs/scale.md explains each step. Without a GPU the same
# steps run on the CPU, in smaller sizes.
#
#   scripts/gpu_first.sh              run all steps
#   scripts/gpu_first.sh NAME...      run these steps, in the order of the list
#   scripts/gpu_first.sh --list       print the steps: name, command, what is expected
#   scripts/gpu_first.sh --small      small sizes on a GPU too
#
# A step that fails does not stop the others; those that need it are skipped. Exits with 1 if a step failed, 2 on a
# wrong argument, 130 after Ctrl-C. The output of each step is in $ITS_HOME/logs/gpu_first/ (.its without ITS_HOME).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
command -v its > /dev/null || export PATH="$PWD/.venv/bin:$PATH"

gpu=no
if [ -e /proc/driver/nvidia/version ] || [[ $(nvidia-smi -L 2> /dev/null) == *GPU* ]]; then gpu=yes; fi
small=$([ "$gpu" = yes ] && echo no || echo yes)
mode=run
chosen=()
for argument in "$@"; do
  case $argument in
    --list) mode=list ;;
    --small) small=yes ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) chosen+=("$argument") ;;
  esac
done

# Each step: name, steps that it needs (without blanks, separated by commas, `-` for none), most minutes, what is
# expected, command.
names=() needs=() minutes=() expected=() commands=()
step() { names+=("$1") needs+=("$2") minutes+=("$3") expected+=("$4") commands+=("$5"); }

sizes="--turns 3 --prompts 512 --max-tokens 64"
[ "$small" = yes ] && sizes="--turns 3 --prompts 96 --max-tokens 32"  # shorter turns are noise on two cores
tests=tests/integration
step gpu - 1 "the driver lists the GPU; skipped without one" "nvidia-smi"
step axolotl - 40 "the environment of Axolotl is complete, its imports work (with a GPU also DeepSpeed's)" "its env sync axolotl"
step vllm - 40 "the environment of vLLM is complete, its imports work" "its env sync vllm"
step machine axolotl,vllm 1 "no line is missing or incomplete" "its doctor"
step settings axolotl,vllm 10 "Axolotl's schema and vLLM's classes accept every shipped recipe and template" \
  "pytest -q $tests/test_axolotl_schema.py $tests/test_vllm_options.py"
step transformers axolotl 15 "responses do not depend on the batch, seeds and penalties do what they say" \
  "pytest -q $tests/test_transformers.py"
step lora axolotl 15 "two steps of the LoRA template on a tiny model, finite loss, the adapter changed" \
  "pytest -q $tests/test_gpu_templates.py -k lora_80"
step full axolotl 15 "two steps of each full template on a tiny model, finite loss, the weights changed" \
  "pytest -q $tests/test_gpu_templates.py -k full"
step sampling vllm 15 "vLLM starts and answers, and its sampling settings do what they say" \
  "pytest -q $tests/test_engine_sampling.py"
step swap axolotl,vllm 15 "swapped weights and adapters give the responses of freshly loaded ones, text by text" \
  "pytest -q $tests/test_variants.py -k served_by_one_session"
step throughput vllm 15 "throughput_ratio of at least 0.9: tokens a second through ITS over those of raw vLLM" \
  "python benchmarks/generate.py --base $sizes --at-least 0.9"
step memory axolotl 60 "each template takes at most what its recipe plan computes; 35 GB of disk; skipped without a GPU" \
  "python benchmarks/template_memory.py --at-most 1"

for name in ${chosen[@]+"${chosen[@]}"}; do
  [[ " ${names[*]} " == *" $name "* && $name != *" "* ]] && continue
  echo "error: no step \`$name\`; the steps are ${names[*]}" >&2
  exit 2
done
if [ "$mode" = list ]; then
  for at in "${!names[@]}"; do printf '%-13s%s\n%13s%s\n' "${names[at]}" "${commands[at]}" "" "${expected[at]}"; done
  exit 0
fi

logs=${ITS_HOME:-$PWD/.its}/logs/gpu_first
mkdir -p "$logs" || exit 1
declare -A result=() took=()
child=""

summary() {
  local at name failed=0 passed=0 skipped=0
  printf '\nsummary (logs in %s)\n' "$logs"
  for name in "${names[@]}"; do
    [ -n "${result[$name]-}" ] || continue
    printf '%-13s%-5s%5s s\n' "$name" "${result[$name]}" "${took[$name]}"
    case ${result[$name]} in PASS) passed=$((passed + 1)) ;; FAIL) failed=$((failed + 1)) ;; *) skipped=$((skipped + 1)) ;; esac
  done
  echo "$passed passed, $failed failed, $skipped skipped, on $([ "$gpu" = yes ] && echo "a GPU" || echo "the CPU")"
  [ "$failed" = 0 ]
}

# `timeout` is in its own process group, with all that a step starts: one signal ends it.
stop() {
  trap - INT TERM
  [ -z "$child" ] || { kill -TERM "$child" && wait "$child"; } 2> /dev/null
  echo "stopped"
  summary
  exit 130
}
trap stop INT TERM

# The lines of a log that are not blank, without marks of progress bars and other control characters.
lines() { tr '\r' '\n' < "$1" | tr -cd '[:print:]\n' | grep -v '^ *$' | cut -c 1-160; }

# The reason why a step is not run, if there is one.
obstacle() {
  local need
  [[ $1 == gpu || $1 == memory ]] && [ "$gpu" = no ] && echo "there is no GPU" && return
  for need in ${2//,/ }; do
    [ "${result[$need]-}" = FAIL ] && echo "it needs \`$need\`, which failed" && return
  done
}

for at in "${!names[@]}"; do
  name=${names[at]}
  [ ${#chosen[@]} = 0 ] || [[ " ${chosen[*]} " == *" $name "* ]] || continue
  printf '%s: %s\n  expected: %s\n' "$name" "${commands[at]}" "${expected[at]}"
  reason=$(obstacle "$name" "${needs[at]}")
  if [ -n "$reason" ]; then
    result[$name]=skip took[$name]=0
    echo "  skip: $reason"
    continue
  fi
  log=$logs/$name.log
  began=$SECONDS
  read -ra words <<< "${commands[at]}"
  timeout --kill-after=20 "${minutes[at]}m" "${words[@]}" > "$log" 2>&1 < /dev/null &
  child=$!
  wait "$child"
  code=$?
  child="" took[$name]=$((SECONDS - began))
  if [ "$code" = 0 ]; then
    last=$(lines "$log" | tail -n 1)
    # pytest ends well when it has skipped everything.
    [[ $last =~ ^[0-9]+\ skipped ]] && result[$name]=skip || result[$name]=PASS
    echo "  ${result[$name]}: ${took[$name]} s, $last"
  else
    result[$name]=FAIL
    [ "$code" = 124 ] && echo "  FAIL: ended after its ${minutes[at]} minutes; the last lines of $log:" ||
      echo "  FAIL: exit code $code after ${took[$name]} s; the last lines of $log:"
    lines "$log" | tail -n 5 | sed 's/^/    /'
  fi
done
summary
