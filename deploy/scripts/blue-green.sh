#!/usr/bin/env bash
# Gives the traffic to the other colour (deploy/compose/blue-green), after a look at its replicas, and sees that it got there.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: blue-green.sh --to blue|green [options]
       blue-green.sh --back [options]

All replicas of the colour must be healthy. Then its name goes into active.map, HAProxy reloads, and a log, a metric and a span are sent
through it: the colour's own replicas must have counted them. If they have not, the map is put back, HAProxy reloads again, and it fails.

  --back              to the colour that had the traffic before the last switch
  --blue URLS, --green URLS   where the replicas answer themselves (default: the addresses of compose.blue-green.yml)
  --url URL           where agents send (http://localhost:8082)
  --map FILE          (deploy/compose/blue-green/active.map); beside it active.previous is kept
  --reload COMMAND    (docker compose -f deploy/compose/compose.blue-green.yml kill -s HUP haproxy)
  --version VERSION   that the new colour's replicas must have
  --within SECONDS    for the traffic to arrive (30)
  --dry-run           ask whether the colour is healthy, say what would be done, and do nothing

Both colours write into one store: whichever takes an item, it is kept once. Stop the old colour later; it finishes what it holds.
Safe to repeat. Exit code: 0 the colour has the traffic, 1 it has not, and the map is as it was, 2 the map could not be put back,
64 wrong options, 69 a program is missing.
USAGE
}

compose=$scripts/../compose
to='' back='' blue=http://172.30.85.21:8080,http://172.30.85.22:8080,http://172.30.85.23:8080
green=http://172.30.85.31:8080,http://172.30.85.32:8080,http://172.30.85.33:8080
url=http://localhost:8082 map=$compose/blue-green/active.map reload='' version='' wait_seconds=30
while [ $# -gt 0 ]; do
  case $1 in
    --to) to=${2:?} && shift 2 ;;
    --back) back=yes && shift ;;
    --blue) blue=${2:?} && shift 2 ;;
    --green) green=${2:?} && shift 2 ;;
    --url) url=${2:?} && shift 2 ;;
    --map) map=${2:?} && shift 2 ;;
    --reload) reload=${2:?} && shift 2 ;;
    --version) version=${2:?} && shift 2 ;;
    --within) whole_number "$1" "${2-}" && wait_seconds=$2 && shift 2 ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
previous_file=${map%.map}.previous
[ -f "$map" ] || fail "there is no $map"
if [ -n "$back" ]; then
  [ -z "$to" ] || wrong '--to or --back, not both'
  [ -f "$previous_file" ] || fail 'there was no switch yet: nothing to go back to'
  to=$(<"$previous_file")
fi
case $to in
  blue) replicas=$blue ;;
  green) replicas=$green ;;
  *) wrong '--to blue or --to green' ;;
esac
if [ -z "$reload" ]; then
  need docker
  printf -v reload 'docker compose -f %q kill -s HUP haproxy' "$compose/compose.blue-green.yml"
fi
active=$(sed -n 's/^active  *//p' "$map")

"$scripts/health-check.sh" --replicas "$replicas" ${version:+--version "$version"} || fail "$to is not healthy: $active keeps the traffic"

# activate COLOUR: the file is replaced at once, so that a reload never reads half of it.
activate() {
  if [ -n "$dry_run" ]; then
    say "would write 'active $1' to $map"
  else
    printf 'active %s\n' "$1" >"$map.new"
    chmod 644 "$map.new"
    mv "$map.new" "$map"
  fi
  change_by_shell "$reload"
}

# A new connection may meet the old process for a moment.
# shellcheck disable=SC2329 # called by `within`
arrives() {
  said=$("$scripts/verify-deployment.sh" --url "$url" --replicas "$replicas" --within 5 --in-flight 1000 2>&1)
}

if [ "$active" = "$to" ]; then
  say "$to has the traffic already"
else
  activate "$to" || {
    activate "$active" || exit 2
    fail "HAProxy was not reloaded: $active keeps the traffic"
  }
fi
if [ -n "$dry_run" ]; then exit 0; fi
if within "$wait_seconds" arrives; then
  # Not after --back: once more it would go forth.
  if [ "$active" != "$to" ] && [ -z "$back" ]; then printf '%s\n' "$active" >"$previous_file"; fi
  say "$to has the traffic"
  exit 0
fi
say "$said"
[ "$active" != "$to" ] || fail "$to has not got what was sent"
activate "$active" || exit 2
fail "$to did not get what was sent: $active has the traffic again"
