#!/usr/bin/env bash
# Health of all replicas, each asked by itself, or as HAProxy sees them. Changes nothing.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: health-check.sh --replicas URL,URL,… [--watch SECONDS] [--json]
       health-check.sh --from-haproxy SOCKET [--backend replicas] [--watch SECONDS] [--json]

A replica is healthy when /health says "ok": it serves, can write its journal and reaches its store.

  --replicas URLS        where each replica answers itself, not through a balancer (or $REPLICAS)
  --from-haproxy SOCKET  what HAProxy knows of its servers: the path of its runtime socket (needs socat), or ipv4@HOST:PORT
  --backend NAME         of HAProxy (replicas)
  --version VERSION      another version is not healthy
  --watch SECONDS        again after so many seconds, until it is interrupted
  --times N              with --watch: so often, and then end
  --json                 one JSON object for each replica and line
  --dry-run              say what would be asked

Exit code: 0 all are healthy, 1 some are not, 2 none is, 64 wrong options, 69 a program is missing.
USAGE
}

replicas=${REPLICAS:-} socket='' backend=replicas version='' watch='' times='' json=''
while [ $# -gt 0 ]; do
  case $1 in
    --replicas) replicas=${2:?} && shift 2 ;;
    --from-haproxy) socket=${2:?} && shift 2 ;;
    --backend) backend=${2:?} && shift 2 ;;
    --version) version=${2:?} && shift 2 ;;
    --watch) whole_number "$1" "${2-}" && watch=$2 && shift 2 ;;
    --times) whole_number "$1" "${2-}" && times=$2 && shift 2 ;;
    --json) json=yes && shift ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
[ -n "$socket$replicas" ] || wrong 'missing: --replicas or --from-haproxy'

if [ -n "$dry_run" ]; then
  if [ -n "$socket" ]; then
    say "would ask HAProxy at $socket for the servers of $backend"
  else
    for url in $(list "$replicas"); do say "would ask $url/health"; done
  fi
  exit 0
fi

ask_replicas() {
  local url good
  [ -n "$json" ] || printf '%-40s %-12s %-10s %10s  %s\n' replica health version uptime storage
  for url in $(list "$replicas"); do
    look_at "$url"
    good=false
    if [ "$health_state" = ok ] && [ "${version:-$health_version}" = "$health_version" ]; then good=true; fi
    all=$((all + 1))
    if [ $good = true ]; then healthy=$((healthy + 1)); fi
    if [ -n "$json" ]; then
      printf '{"replica":"%s","healthy":%s,"health":"%s","version":"%s","uptime":%s,"storage":"%s"}\n' "$url" $good "$health_state" \
        "$health_version" "${health_uptime/#-/null}" "$health_storage"
    else
      printf '%-40s %-12s %-10s %10s  %s\n' "$url" "$health_state" "$health_version" "$health_uptime" "$health_storage"
    fi
  done
}

ask_haproxy() {
  local name state sessions check good servers
  servers=$(haproxy_servers "$socket" "$backend") || fail "HAProxy does not answer at $socket"
  [ -n "$servers" ] || fail "HAProxy has no servers in a backend $backend"
  [ -n "$json" ] || printf '%-24s %-8s %10s  %s\n' server state sessions check
  while read -r name state sessions check; do
    good=false
    if [ "$state" = UP ]; then good=true; fi
    all=$((all + 1))
    if [ $good = true ]; then healthy=$((healthy + 1)); fi
    if [ -n "$json" ]; then
      printf '{"replica":"%s","healthy":%s,"health":"%s","sessions":%s,"check":"%s"}\n' "$name" $good "$state" "$sessions" "$check"
    else
      printf '%-24s %-8s %10s  %s\n' "$name" "$state" "$sessions" "$check"
    fi
  done <<<"$servers"
}

for ((round = 1; ; round++)); do
  all=0 healthy=0
  if [ -n "$socket" ]; then ask_haproxy; else ask_replicas; fi
  [ -n "$json" ] || say "$healthy of $all healthy"
  if [ -z "$watch" ] || [ "$round" = "$times" ]; then break; fi
  sleep "$watch"
done
if [ "$healthy" -eq "$all" ]; then exit 0; fi
if [ "$healthy" -gt 0 ]; then exit 1; fi
exit 2
