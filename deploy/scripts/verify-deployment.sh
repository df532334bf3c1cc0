#!/usr/bin/env bash
# Sends a log, a metric and a span with a mark of their own through a deployment, and follows them as far as it can be seen from outside.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: verify-deployment.sh --url URL [--replicas URL,URL,…] [--store URL | --data-dir DIR] [options]

Checks, one line each: health and readiness; that metrics are there; that a marked log, metric and span are accepted; that the
replicas have counted them; that the books of each replica balance; and with --store that the marked items come back by `reductrai query`.
The items are telemetry like any other: they are kept, and forwarded where an upstream is set.

  --url URL            where agents send: the balancer, or one replica
  --replicas URLS      where each replica answers itself, for /metrics and /status (default: --url, if that is one replica)
  --store URL          the store, e.g. s3://bucket/prefix?region=…; credentials as of the proxy, from the environment
  --data-dir DIR       the replica's data folder, where what is kept lies in it
  --api-key-file FILE  the key to send with, where only some are allowed (default $DD_API_KEY; without one none is sent)
  --within SECONDS     for the books to balance (30)
  --stored-within SECONDS   for the items to be in the store (400: a flush comes every 5 minutes)
  --in-flight N        what may be under way in a book that balances, where others send at the same time (0)
  --dry-run            say what would be checked, and send nothing

Needs Node or the installed program for --store ($REDUCTRAI: how it is called, e.g. "docker compose exec -T proxy-1 reductrai").
Exit code: 0 all is well, 1 a check failed, 64 wrong options, 69 a program is missing.
USAGE
}

url='' replicas='' store='' data_dir='' key=${DD_API_KEY:-} books_within=30 stored_within=400 in_flight=0
while [ $# -gt 0 ]; do
  case $1 in
    --url) url=${2:?} && shift 2 ;;
    --replicas) replicas=${2:?} && shift 2 ;;
    --store) store=${2:?} && shift 2 ;;
    --data-dir) data_dir=${2:?} && shift 2 ;;
    --api-key-file) key=$(<"${2:?}") && shift 2 ;;
    --within) whole_number "$1" "${2-}" && books_within=$2 && shift 2 ;;
    --stored-within) whole_number "$1" "${2-}" && stored_within=$2 && shift 2 ;;
    --in-flight) whole_number "$1" "${2-}" && in_flight=$2 && shift 2 ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
[ -n "$url" ] || wrong 'missing: --url'
url=$(list "$url")

if [ -n "$dry_run" ]; then
  say "would ask $url/health and $url/readyz"
  say "would send a log, a metric and a span to $url"
  for replica in $(list "${replicas:-$url}"); do say "would ask $replica/metrics and $replica/status"; done
  if [ -n "$store$data_dir" ]; then say "would look for them in ${store:-$data_dir}"; fi
  exit 0
fi

failed=0
# check NAME COMMAND…: `ok` or `FAILED` with what the command said.
check() {
  local name=$1 said
  shift
  if said=$("$@" 2>&1); then
    printf 'ok      %s%s\n' "$name" "${said:+: $said}"
  else
    printf 'FAILED  %s%s\n' "$name" "${said:+: $said}"
    failed=$((failed + 1))
  fi
}

answers_200() { # URL
  local status
  status=$(curl --silent --noproxy '*' --max-time "$HTTP_SECONDS" --output /dev/null --write-out '%{http_code}' "$1") || true
  [ "$status" = 200 ] || { say "status ${status/#000/none}" && return 1; }
}

reports_ok() { # URL
  look_at "$1"
  say "$health_state, version $health_version, storage $health_storage"
  [ "$health_state" = ok ]
}

has_metrics() { # URL
  local text
  # Read whole: a reader that stops early looks like a failure of the one before it.
  text=$(http_get "$1/metrics") || text=''
  grep -q '^reductrai_health_status' <<<"$text" || { say 'no metric reductrai_health_status' && return 1; }
}

# send METHOD PATH WANTED BODY: the key goes by a file that only this process sees, not by the command line.
send() {
  local answer status
  answer=$(curl --silent --show-error --noproxy '*' --max-time 30 --request "$1" --header 'content-type: application/json' \
    --config <(if [ -n "$key" ]; then printf 'header = "dd-api-key: %s"\n' "$key"; fi) \
    --data-binary @- --write-out '\n%{http_code}' "$url$2" <<<"$4" 2>&1) || { say "no answer: ${answer%%$'\n'*}" && return 1; }
  status=${answer##*$'\n'}
  say "status $status"
  [ "$status" = "$3" ] || { say "${answer%$'\n'*}" && return 1; }
}

# counts NAME: what all replicas have counted of it, per signal.
counts() {
  local replica text signal total=()
  text=$(for replica in $(list "$replicas"); do http_get "$replica/metrics" || exit 1; done) || return 1
  for signal in logs metrics traces; do total+=("$(metric "$1" "signal=\"$signal\"" <<<"$text")"); done
  say "${total[*]}"
}

have_risen() {
  local now i names=(logs metrics spans) missing=() was is
  now=$(counts reductrai_envelopes_accepted_total) || { say 'a replica gives no metrics' && return 1; }
  read -ra was <<<"$counted"
  read -ra is <<<"$now"
  for i in 0 1 2; do [ "${is[i]}" -gt "${was[i]}" ] || missing+=("${names[i]}"); done
  [ ${#missing[@]} -eq 0 ] || { say "these replicas have not counted: ${missing[*]}" && return 1; }
}

# The books of one replica; `balance` is what is left over: of the intake what is under way.
balances() { # URL
  local books balance
  books=$(http_get "$1/status") || return 1
  off=$(grep -o '"balance":-\{0,1\}[0-9]*' <<<"$books" | sed 's/.*://') || return 1
  for balance in $off; do [ "${balance#-}" -le "$in_flight" ] || return 1; done
}

books_balance() { # URL
  off=''
  within "$books_within" balances "$1" || { say "left over after $books_within s: ${off//$'\n'/ }" && return 1; }
}

no_more_dead_letters() {
  local now
  now=$(dead_letters) || { say 'a replica gives no metrics' && return 1; }
  [ "$now" -le "$dead_before" ] || { say "$((now - dead_before)) more" && return 1; }
}

dead_letters() {
  local text
  text=$(for replica in $(list "$replicas"); do http_get "$replica/metrics" || exit 1; done) || return 1
  metric reductrai_forward_dead_letters_total <<<"$text"
}

ask_store() { # SQL
  if [ -n "$store" ]; then STORAGE_URL=$store reductrai query --format csv "$1"; else DATA_DIR=$data_dir reductrai query --format csv "$1"; fi
}

is_stored() {
  found=$(ask_store "$in_store" 2>&1 | tail -n 1) && [ "$found" = 1,1,1 ]
}

come_back() {
  found=''
  within "$stored_within" is_stored || { say "logs, metrics, spans found: ${found:-none}" && return 1; }
}

# Which replica answers is told by /status: behind a balancer that changes.
if [ -z "$replicas" ]; then
  seen=$(for _ in 1 2 3 4 5 6; do http_get "$url/status" | grep -o '"replica":{[^}]*}' || true; done | sort -u | wc -l)
  if [ "$seen" -gt 1 ]; then wrong "several replicas answer at $url: name them with --replicas"; fi
  replicas=$url
fi

check "health of $url" reports_ok "$url"
check "readiness of $url" answers_200 "$url/readyz"
for replica in $(list "$replicas"); do
  if [ "$replica" != "$url" ]; then check "health of $replica" reports_ok "$replica"; fi
  check "metrics of $replica" has_metrics "$replica"
done

mark="verify-$(date +%s)-$$-$RANDOM"
now=$(date +%s)
counted=$(counts reductrai_envelopes_accepted_total) || counted='0 0 0'
dead_before=$(dead_letters) || dead_before=0
check 'a log is accepted' send POST /api/v2/logs 202 \
  "[{\"message\":\"$mark\",\"service\":\"reductrai-verify\",\"ddsource\":\"verify-deployment\",\"ddtags\":\"mark:$mark\"}]"
check 'a metric is accepted' send POST /api/v2/series 202 \
  "{\"series\":[{\"metric\":\"reductrai.verify\",\"type\":3,\"points\":[{\"timestamp\":$now,\"value\":1}],\"tags\":[\"mark:$mark\"]}]}"
# As a tracer sends it; an Agent's route answers 200.
check 'a span is accepted' send PUT /v0.4/traces 200 \
  "[[{\"trace_id\":$now$RANDOM,\"span_id\":$((RANDOM + 1)),\"parent_id\":0,\"service\":\"reductrai-verify\",\"name\":\"verify\",\"resource\":\"$mark\",\"type\":\"custom\",\"start\":${now}000000000,\"duration\":1000000,\"error\":0,\"meta\":{\"mark\":\"$mark\"},\"metrics\":{}}]]"
check 'they were counted' have_risen
for replica in $(list "$replicas"); do check "books of $replica balance" books_balance "$replica"; done
check 'no more dead letters' no_more_dead_letters
if [ -n "$store$data_dir" ]; then
  in_store="SELECT (SELECT count(*) FROM logs WHERE message = '$mark'), (SELECT count(*) FROM metrics WHERE metric = 'reductrai.verify' AND list_contains(tags, 'mark:$mark')), (SELECT count(*) FROM spans WHERE resource = '$mark')"
  check 'they come back from the store' come_back
fi
if [ $failed -gt 0 ]; then fail "$failed checks failed"; fi
say 'all is well'
