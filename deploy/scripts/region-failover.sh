#!/usr/bin/env bash
# Sends the senders to another region: looks at it first, switches by the command that is given, and sees that the traffic arrives there.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: region-failover.sh --to REGION --replicas URL,URL,… --switch COMMAND [--url URL] [options]

The region's replicas must be healthy and take a log, a metric and a span. Then the command points senders at it, and at --url, where they
send, it is tried until what is sent there is counted by the region's replicas. To go back, the same with the other region.

  --to REGION         its name; {region} in the command is replaced by it
  --replicas URLS     where the region's replicas answer themselves
  --balancer URL      the region's own entry, tried before the switch (default: the first replica)
  --switch COMMAND    run by bash: a change of a DNS record, of a weight, of a balancer's map and its reload
  --url URL           where all senders send; without it what comes after the switch is not tried, and that is said
  --within SECONDS    for the traffic to arrive (300: as long as senders keep an address)
  --force             switch also to a region of which some replicas are not healthy, as long as one is
  --dry-run           ask whether the region is healthy, say what would be done, and do nothing

Each region has its own store. What the lost region had acknowledged is in its store and stays there: start one replica anywhere with that
STORAGE_URL and the same SEAL_KEY or DATADOG_API_KEY, and it finishes every journal (docs/high-availability.md).
Safe to repeat. Exit code: 0 the traffic arrives, 1 refused (nothing was changed) or the command failed, 2 switched, but the traffic does not
arrive, 64 wrong options, 69 a program is missing.
USAGE
}

region='' replicas='' balancer='' switch='' url='' wait_seconds=300 force=''
while [ $# -gt 0 ]; do
  case $1 in
    --to) region=${2:?} && shift 2 ;;
    --replicas) replicas=${2:?} && shift 2 ;;
    --balancer) balancer=${2:?} && shift 2 ;;
    --switch) switch=${2:?} && shift 2 ;;
    --url) url=${2:?} && shift 2 ;;
    --within) whole_number "$1" "${2-}" && wait_seconds=$2 && shift 2 ;;
    --force) force=yes && shift ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
[ -n "$region" ] || wrong 'missing: --to'
[ -n "$replicas" ] || wrong 'missing: --replicas'
[ -n "$switch" ] || wrong 'missing: --switch'
[[ $region =~ ^[A-Za-z0-9._-]+$ ]] || wrong "a region's name is of letters, digits and . _ -"

health=0
"$scripts/health-check.sh" --replicas "$replicas" || health=$?
if [ $health -ne 0 ] && ! { [ $health -eq 1 ] && [ -n "$force" ]; }; then fail "$region is not healthy: nothing was changed"; fi
healthy=$(for one in $(list "$replicas"); do if is_healthy "$one"; then say "$one"; fi; done | paste -sd,)
# verify URL: through it to the replicas that are healthy. Others send at the same time.
verify() {
  "$scripts/verify-deployment.sh" --url "$1" --replicas "$healthy" --within 5 --in-flight 1000 ${dry_run:+--dry-run} 2>&1
}
said=$(verify "${balancer:-${healthy%%,*}}") || fail "$region does not take what is sent: nothing was changed"$'\n'"$said"
say "$region takes what is sent"

change_by_shell "${switch//'{region}'/$region}" || fail "the command ended with $?: look where senders are pointed at"
if [ -n "$dry_run" ]; then exit 0; fi
if [ -z "$url" ]; then
  say "switched to $region; whether the traffic arrives was not tried (no --url)"
  exit 0
fi
# shellcheck disable=SC2329 # called by `within`
arrives() { said=$(verify "$url"); }
if within "$wait_seconds" arrives; then
  say "what is sent to $url arrives in $region"
  exit 0
fi
printf '%s\nswitched, but what is sent to %s does not arrive in %s after %s s\n' "$said" "$url" "$region" "$wait_seconds" >&2
exit 2
