#!/usr/bin/env bash
# Updates replicas one after the other, each only once all others serve, and stops at the first that does not come back as it should.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: rolling-update.sh --replica NAME=URL[=BACKEND/SERVER] … (--update COMMAND | --compose FILE | --systemd) [options]

For each replica in turn: drained in HAProxy (with --socket), updated by the command, waited for until it is a new process, healthy and of
the wanted version, and given back to HAProxy. Does not begin unless all are healthy; at the first failure it stops.

  --replica NAME=URL[=BACKEND/SERVER]   its name for the command, where it answers itself, and its name in HAProxy (replicas/NAME)
  --version VERSION    what /health has to say afterwards; a replica that says so already is left alone
  --update COMMAND     run by bash; {replica}, {url} and {version} are replaced
  --rollback COMMAND   run for the replica that failed; {previous} is the version it had. It is waited for, too.
  --compose FILE       for --update: docker compose -f FILE up -d --no-deps --wait {replica} with REDUCTRAI_VERSION, and back the same way
  --systemd            for --update: ssh {replica} systemctl restart reductrai-proxy
  --socket SOCKET      HAProxy's runtime socket (drain.sh --help)
  --deadline SECONDS   for one replica to come back (180), and to be drained
  --pause SECONDS      between two replicas (5: connections spread again)
  --lock FILE          two runs at once are refused by it ($TMPDIR or /tmp, reductrai-rolling-update.lock)
  --dry-run            say what would be done, and do nothing

Safe to repeat: with --version it goes on where it stopped. A replica that failed, and was not rolled back, stays drained.
Exit code: 0 all are updated, 1 refused or stopped (the replica was rolled back, or there is no --rollback), 2 the rollback failed, too,
64 wrong options, 69 a program is missing.
USAGE
}

names=() urls=() servers=() version='' update='' rollback='' socket='' deadline=180 pause=5
lock=${TMPDIR:-/tmp}/reductrai-rolling-update.lock
while [ $# -gt 0 ]; do
  case $1 in
    --replica)
      IFS='=' read -r one_name one_url one_server <<<"${2:?}"
      [ -n "$one_url" ] || wrong '--replica NAME=URL'
      [[ $one_name =~ ^[A-Za-z0-9._@-]+$ ]] || wrong "no name of a replica: $one_name"
      names+=("$one_name") urls+=("$(list "$one_url")") servers+=("${one_server:-$one_name}") && shift 2
      ;;
    --version) version=${2:?} && shift 2 ;;
    --update) update=${2:?} && shift 2 ;;
    --rollback) rollback=${2:?} && shift 2 ;;
    --compose)
      printf -v update 'REDUCTRAI_VERSION={version} docker compose -f %q up -d --no-deps --wait {replica}' "${2:?}"
      printf -v rollback 'REDUCTRAI_VERSION={previous} docker compose -f %q up -d --no-deps --wait {replica}' "$2"
      need docker && shift 2
      ;;
    --systemd) update='ssh {replica} systemctl restart reductrai-proxy' && need ssh && shift ;;
    --socket) socket=${2:?} && shift 2 ;;
    --deadline) whole_number "$1" "${2-}" && deadline=$2 && shift 2 ;;
    --pause) whole_number "$1" "${2-}" && pause=$2 && shift 2 ;;
    --lock) lock=${2:?} && shift 2 ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
[ ${#names[@]} -gt 0 ] || wrong 'missing: --replica'
[ -n "$update" ] || wrong 'missing: --update, --compose or --systemd'
need flock

# filled TEXT INDEX PREVIOUS
filled() {
  local text=$1
  text=${text//'{replica}'/${names[$2]}}
  text=${text//'{url}'/${urls[$2]}}
  text=${text//'{version}'/${version:-latest}}
  printf '%s' "${text//'{previous}'/$3}"
}

# A process that is not the old one, which would be healthy, too: that one's uptime would have gone on. Seconds are whole, so that the old one has to
# be a few of them old. After a rollback any will do: the update may have changed nothing.
is_back() { # URL VERSION BEGAN UPTIME
  is_healthy "$1" && [ "${2:-$health_version}" = "$health_version" ] &&
    { [ -z "$3" ] || [ "$health_uptime" -lt $(($4 + SECONDS - $3 - 1)) ]; }
}

is_settled() { # URL
  is_healthy "$1" && [ "$health_uptime" -ge 3 ]
}

haproxy() { # drain|ready INDEX
  if [ -n "$socket" ]; then
    "$scripts/drain.sh" "$1" --socket "$socket" --server "${servers[$2]}" --deadline "$deadline" ${dry_run:+--dry-run}
  fi
}

# change_and_wait COMMAND INDEX VERSION [BEGAN UPTIME]: runs it, and waits for the replica to be back. What the command leaves running must not
# keep the lock.
change_and_wait() {
  change_by_shell "$1" 9>&- || { say "the command for ${names[$2]} ended with $?" && return 1; }
  [ -z "$dry_run" ] || return 0
  within "$deadline" is_back "${urls[$2]}" "$3" "${4-}" "${5-}" && return
  say "${names[$2]} is not back after $deadline s: $health_state, version $health_version, up for $health_uptime s${3:+; wanted is version $3}"
  return 1
}

all_others_serve() { # INDEX
  local i
  for i in "${!urls[@]}"; do
    if [ "$i" -ne "$1" ] && ! is_healthy "${urls[$i]}"; then say "${names[$i]} is $health_state" && return 1; fi
  done
}

if [ -z "$dry_run" ]; then
  exec 9>"$lock"
  flock --nonblock 9 || fail "another rolling update is under way ($lock)"
fi
all_others_serve -1 || fail 'not all replicas are healthy: nothing was changed'

for i in "${!names[@]}"; do
  name=${names[$i]}
  look_at "${urls[$i]}"
  previous=$health_version
  if [ -n "$version" ] && [ "$previous" = "$version" ]; then
    # One that was left drained by a run that stopped.
    if [ -n "$socket" ]; then haproxy ready "$i" || fail "$name could not be given back to HAProxy"; fi
    say "$name has version $version already"
    continue
  fi
  all_others_serve "$i" || fail "stopped before $name"
  haproxy drain "$i" || {
    haproxy ready "$i" || true
    fail "stopped: $name could not be drained; it was not updated"
  }
  within 10 is_settled "${urls[$i]}" || fail "stopped: $name is $health_state once it is drained; it was not updated"
  if ! change_and_wait "$(filled "$update" "$i" "$previous")" "$i" "$version" "$SECONDS" "$health_uptime"; then
    [ -n "$rollback" ] || fail "stopped at $name, which was not rolled back"
    change_and_wait "$(filled "$rollback" "$i" "$previous")" "$i" "$previous" || {
      say "stopped at $name, and it could not be rolled back to $previous" >&2
      exit 2
    }
    haproxy ready "$i" || true
    fail "stopped at $name, which was rolled back to $previous"
  fi
  haproxy ready "$i" || fail "stopped: $name is updated, but HAProxy does not take it"
  if [ -n "$dry_run" ]; then continue; fi
  look_at "${urls[$i]}"
  say "$name is back with version $health_version"
  if [ "$i" -lt $((${#names[@]} - 1)) ]; then sleep "$pause"; fi
done
[ -n "$dry_run" ] || say "all ${#names[@]} replicas are updated"
