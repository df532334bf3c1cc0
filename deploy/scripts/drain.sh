#!/usr/bin/env bash
# Takes a replica out of HAProxy without breaking a request, and brings it back, through HAProxy's runtime socket.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: drain.sh drain|ready|status --socket SOCKET[,SOCKET] [--server BACKEND/NAME] [--deadline SECONDS] [--force] [--dry-run]

  drain    send it no new requests, and wait until none is under way or queued for it
  ready    send to it again, and wait until its checks say that it is up
  status   servers, states and requests under way (of --server's backend, or of replicas)

  --socket SOCKET     HAProxy's runtime socket with level admin: a path (needs socat), or ipv4@HOST:PORT. Several HAProxies in front of the same
                      replicas: all of them. deploy/haproxy/haproxy.cfg has one where ADMIN_SOCKET is set.
  --server BACKEND/NAME   e.g. replicas/r1; without a backend that of the shipped file, replicas
  --deadline SECONDS  to wait (60)
  --force             drain it also when it is the last one that is up
  --dry-run           say what would be done, and do nothing

What a drained replica holds it still archives and forwards. Safe to repeat. When the deadline passes a draining replica stays drained.
Exit code: 0 done, 1 refused, not reached in time, or no answer of HAProxy, 64 wrong options, 69 a program is missing.
USAGE
}

action='' sockets='' server='' deadline=60 force=''
while [ $# -gt 0 ]; do
  case $1 in
    drain | ready | status) action=$1 && shift ;;
    --socket) sockets=${2:?} && shift 2 ;;
    --server) server=${2:?} && shift 2 ;;
    --deadline) whole_number "$1" "${2-}" && deadline=$2 && shift 2 ;;
    --force) force=yes && shift ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
[ -n "$action" ] || wrong 'what is to be done: drain, ready or status?'
[ -n "$sockets" ] || wrong 'missing: --socket'
backend=replicas
case $server in */*) backend=${server%/*} ;; esac
name=${server##*/}
[ -n "$name" ] || [ "$action" = status ] || wrong 'missing: --server'

# of_server SOCKET: sets state and sessions.
of_server() {
  local servers
  servers=$(haproxy_servers "$1" "$backend") || fail "HAProxy does not answer at $1"
  read -r state sessions < <(awk -v name="$name" '$1 == name { print $2, $3 }' <<<"$servers") ||
    fail "HAProxy at $1 has no server $backend/$name"
  others=$(awk -v name="$name" '$1 != name && $2 == "UP"' <<<"$servers" | wc -l)
}

is_idle() { # SOCKET
  of_server "$1"
  [ "$sessions" -eq 0 ]
}

is_up() { # SOCKET
  of_server "$1"
  [ "$state" = UP ]
}

set_state() { # SOCKET STATE
  local answer
  if [ -n "$dry_run" ]; then
    say "would tell HAProxy at $1: set server $backend/$name state $2"
    return
  fi
  answer=$(haproxy_ask "$1" "set server $backend/$name state $2") || fail "HAProxy does not answer at $1"
  # It says something only where it refuses.
  [ -z "${answer//[[:space:]]/}" ] || fail "HAProxy at $1 says: $answer"
}

for socket in $(list "$sockets"); do
  case $action in
    status)
      servers=$(haproxy_servers "$socket" "$backend") || fail "HAProxy does not answer at $socket"
      [ -n "$servers" ] || fail "HAProxy at $socket has no backend $backend"
      printf '%-24s %-8s %10s  %s\n' server state sessions check
      while read -r one; do
        read -r -a columns <<<"$one"
        if [ -z "$name" ] || [ "${columns[0]}" = "$name" ]; then printf '%-24s %-8s %10s  %s\n' "${columns[@]}"; fi
      done <<<"$servers"
      ;;
    drain)
      of_server "$socket"
      if [ "$others" -eq 0 ] && [ -z "$force" ]; then fail "$backend/$name is the last one that is up at $socket: nothing was changed"; fi
      set_state "$socket" drain
      ;;
    ready)
      of_server "$socket"
      set_state "$socket" ready
      ;;
  esac
done
if [ "$action" = status ] || [ -n "$dry_run" ]; then exit 0; fi

# All HAProxies were told; now each is waited for, within one deadline.
ends=$((SECONDS + deadline))
for socket in $(list "$sockets"); do
  left=$((ends > SECONDS ? ends - SECONDS : 0))
  if [ "$action" = drain ]; then
    within "$left" is_idle "$socket" ||
      fail "$backend/$name is drained at $socket, but has $sessions requests under way after $deadline s"
  else
    within "$left" is_up "$socket" || fail "$backend/$name is not up at $socket after $deadline s, but $state"
  fi
done
if [ "$action" = drain ]; then say "$backend/$name is drained: nothing is under way"; else say "$backend/$name is up"; fi
