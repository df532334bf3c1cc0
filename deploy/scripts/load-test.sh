#!/usr/bin/env bash
# Load through the balancer: requests a second, errors, and how they spread over the replicas.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: load-test.sh --url URL --replicas URL,URL,… [options]

Sends metrics to the balancer as fast as it answers, by `hey` where that is installed:
  hey -z 60s -c 100 -m POST -T application/json -D BODY URL/api/v2/series
else by this checkout's own generator (bench/load/generator.ts), which sends all kinds of telemetry. What is sent is kept and
forwarded like any other: use a deployment for tests.

  --url URL            where agents send
  --replicas URLS      where each replica answers itself, for its counters
  --seconds N          (60)
  --connections N      (100)
  --generator NAME     hey or own (default: hey where it is installed)
  --body FILE          for hey: what is sent, instead of one series
  --tolerance PERCENT  how far a replica's share may be off from an even one (20)
  --api-key-file FILE  for hey; the key can be seen in the list of processes
  --dry-run            say what would be run, and send nothing

Exit code: 0 no error and an even spread, 1 errors, or a spread that is uneven, 64 wrong options, 69 a program is missing.
USAGE
}

url='' replicas='' seconds=60 connections=100 generator='' body='' tolerance=20 key=''
while [ $# -gt 0 ]; do
  case $1 in
    --url) url=$(list "${2:?}") && shift 2 ;;
    --replicas) replicas=${2:?} && shift 2 ;;
    --seconds) whole_number "$1" "${2-}" && seconds=$2 && shift 2 ;;
    --connections) whole_number "$1" "${2-}" && connections=$2 && shift 2 ;;
    --generator) generator=${2:?} && shift 2 ;;
    --body) body=${2:?} && shift 2 ;;
    --tolerance) whole_number "$1" "${2-}" && tolerance=$2 && shift 2 ;;
    --api-key-file) key=$(<"${2:?}") && shift 2 ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
[ -n "$url" ] || wrong 'missing: --url'
[ -n "$replicas" ] || wrong 'missing: --replicas'
if [ -z "$generator" ]; then
  if command -v hey >/dev/null; then generator=hey; else generator=own; fi
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
case $generator in
  hey)
    need hey
    if [ -z "$body" ]; then
      body=$scratch/body.json
      printf '{"series":[{"metric":"reductrai.load_test","type":1,"points":[{"timestamp":%s,"value":1}],"resources":[{"name":"load-test","type":"host"}],"tags":["source:load-test"]}]}' \
        "$(date +%s)" >"$body"
    fi
    [ -r "$body" ] || fail "$body cannot be read"
    command=(hey -z "${seconds}s" -c "$connections" -m POST -T application/json)
    if [ -n "$key" ]; then command+=(-H "dd-api-key: $key"); fi
    command+=(-D "$body" "$url/api/v2/series")
    ;;
  own)
    root=$scripts/../..
    [ -f "$root/bench/load/generator.ts" ] || fail 'the own generator is part of the source checkout, and hey is not installed'
    node=$root/node_modules/node/bin/node
    [ -x "$node" ] || node=node
    need "$node"
    order=$(printf '{"url":"%s","mix":"generated-mixed","seed":1,"templates":200,"connections":%s,"warmUpSeconds":1,"seconds":%s}' "$url" "$connections" "$seconds")
    command=("$node" "$root/bench/load/generator.ts" "$order")
    ;;
  *) wrong '--generator is hey or own' ;;
esac

# accepted: how many requests each replica has acknowledged so far, a line each.
accepted() {
  local replica text
  for replica in $(list "$replicas"); do
    text=$(http_get "$replica/metrics") || return 1
    metric reductrai_envelopes_accepted_total <<<"$text"
  done
}

if [ -n "$dry_run" ]; then
  # The key is nobody's business.
  say "would run: $(quoted "${command[@]/#dd-api-key: */dd-api-key: …}")"
  exit 0
fi
"$scripts/health-check.sh" --replicas "$replicas" || fail 'not all replicas are healthy: nothing was sent'
before=$(accepted) || fail 'a replica gives no metrics'
timeout $((seconds + 120)) "${command[@]}" >"$scratch/report" 2>&1 || fail "the generator ended with $?"$'\n'"$(tail -n 20 "$scratch/report")"
after=$(accepted) || fail 'a replica gives no metrics any more'

if [ "$generator" = hey ]; then
  rate=$(sed -n 's/^ *Requests\/sec:[[:space:]]*//p' "$scratch/report")
  slowest=$(sed -n 's/^ *99%%* in \(.*\) secs.*/\1 s/p' "$scratch/report")
  # Answers by status, then what got no answer.
  answers=$(sed -n 's/^ *\[\([0-9]*\)\][[:space:]]*\([0-9]*\) responses$/\1 \2/p' "$scratch/report")
  good=$(awk '$1 == 202 { print $2 }' <<<"$answers")
  errors=$(
    awk 'NF && $1 != 202' <<<"$answers"
    sed -n '/^Error distribution/,$s/^ *\[\([0-9]*\)\][[:space:]]*\(.*\)/\2 \1/p' "$scratch/report"
  )
else
  report=$(tail -n 1 "$scratch/report")
  good=$(number_of requests <<<"${report#*\"total\"}")
  errors=$(sed -n 's/.*"refused":{\([^}]*\)}.*/\1/p' <<<"$report" | tr ',' '\n' | sed '/^$/d; s/[":]/ /g')
  rate=$(awk -v n="$(number_of requests <<<"${report%%\"total\"*}")" -v s="$seconds" 'BEGIN { printf "%.1f", n / s }')
  slowest=$(sed -n 's/.*"p99Ms":\([0-9]*\.\{0,1\}[0-9]\{0,1\}\).*/\1 ms/p' <<<"$report")
fi
say "$generator: ${good:-0} requests were accepted, ${rate:-0} a second, 99 % within ${slowest:-?}"

problems=0
[ "${good:-0}" -gt 0 ] || fail "nothing was accepted"$'\n'"$errors"
if [ -n "$errors" ]; then
  say "errors:"$'\n'"$errors"
  problems=1
fi
# Of three replicas each should have 33.3 %; with 20 % of tolerance 26.7 % to 40 %.
spread=$(paste <(list "$replicas") <(printf '%s\n' "$before") <(printf '%s\n' "$after") |
  awk -v tolerance="$tolerance" '
    { name[NR] = $1; count[NR] = $3 - $2; sum += count[NR] }
    END {
      for (i = 1; i <= NR; i++) {
        share = sum > 0 ? count[i] / sum * 100 : 0
        off = share * NR - 100; if (off < 0) off = -off
        printf "%-40s %10d %6.1f %%%s\n", name[i], count[i], share, (off > tolerance ? "  uneven" : "")
      }
    }')
say "$spread"
if [[ $spread == *uneven* ]]; then problems=1; fi
if [ $problems -ne 0 ]; then fail 'not as it should be'; fi
say 'no error, even spread'
