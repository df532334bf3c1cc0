#!/usr/bin/env bash
# Kills a replica, lets it stand still, or cuts it off, and tells how the fleet took it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: chaos.sh kill|pause|partition --target TARGET … --replicas URL,URL,… --confirm [options]

Begins only where all replicas are healthy. One of the targets is chosen and struck; the health of all is watched until it is as before.
What was interrupted is put right at the end, also when this script is interrupted.

  kill        SIGKILL. Whoever runs the replica starts it again, or --restart does.
  pause       SIGSTOP, and SIGCONT after --for. For longer than its lease (15 s) others finish its work, and it ends when it wakes up.
  partition   nothing reaches it for --for: a container leaves its --network and comes back with its address; of a process the packets
              to its --port are dropped (iptables, as root).

  --target pid:NUMBER | container:NAME | pod:NAMESPACE/NAME     several: one of them is chosen. Needs docker, kubectl. A pod can be killed only.
  --replicas URLS       where all replicas answer themselves
  --seed N              the same choice each time (the time; it is printed)
  --for SECONDS         of a pause or partition (10)
  --within SECONDS      for all to be healthy again (120)
  --restart COMMAND     run by bash after a kill; {target} is replaced by what follows the colon
  --network NAME        of containers
  --port NUMBER         of a process
  --force               also where not all are healthy, and a process that does not look like this product
  --confirm             needed: telemetry is delayed by this, and requests under way break
  --dry-run             choose, say what would be done, and do nothing

Exit code: 0 all are healthy again, 1 refused or not done, 2 not all are healthy in time, 64 wrong options, 69 a program is missing.
USAGE
}

action='' targets=() replicas='' seed='' duration=10 wait_seconds=120 restart='' network='' port='' force='' confirmed=''
while [ $# -gt 0 ]; do
  case $1 in
    kill | pause | partition) action=$1 && shift ;;
    --target) targets+=("${2:?}") && shift 2 ;;
    --replicas) replicas=${2:?} && shift 2 ;;
    --seed) whole_number "$1" "${2-}" && seed=$2 && shift 2 ;;
    --for) whole_number "$1" "${2-}" && duration=$2 && shift 2 ;;
    --within) whole_number "$1" "${2-}" && wait_seconds=$2 && shift 2 ;;
    --restart) restart=${2:?} && shift 2 ;;
    --network) network=${2:?} && shift 2 ;;
    --port) whole_number "$1" "${2-}" && port=$2 && shift 2 ;;
    --force) force=yes && shift ;;
    --confirm) confirmed=yes && shift ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
[ -n "$action" ] || wrong 'what is to be done: kill, pause or partition?'
[ ${#targets[@]} -gt 0 ] || wrong 'missing: --target'
[ -n "$replicas" ] || wrong 'missing: --replicas'
for target in "${targets[@]}"; do
  [[ $target =~ ^(pid:[0-9]+|container:[A-Za-z0-9_.-]+|pod:[a-z0-9-]+/[a-z0-9.-]+)$ ]] || wrong "no target: $target"
done
[ -n "$confirmed$dry_run" ] || wrong 'nothing is done without --confirm (or --dry-run)'

: "${seed:=$(date +%s)}"
RANDOM=$((seed % 32768))
target=${targets[RANDOM % ${#targets[@]}]}
kind=${target%%:*}
name=${target#*:}
say "seed $seed chooses $target"

case $kind in
  pid)
    [ -r "/proc/$name/cmdline" ] || fail "there is no process $name"
    command_line=$(tr '\0' ' ' <"/proc/$name/cmdline")
    case $command_line in
      *reductrai* | *"main.js serve"* | *"main.ts serve"*) ;;
      *) [ -n "$force" ] || fail "process $name does not look like a replica: $command_line" ;;
    esac
    ;;
  container) need docker ;;
  pod) need kubectl ;;
esac

undo=()
# What undoes the strike is known before it is done. Never --dry-run: then nothing is done.
put_right() {
  local commands=("${undo[@]}") command
  undo=()
  for command in "${commands[@]}"; do bash -c "$command" || say "could not be put right: $command" >&2; done
}
trap put_right EXIT
trap 'exit 130' INT TERM

partition() {
  local address rule
  case $kind in
    container)
      [ -n "$network" ] || wrong 'missing: --network'
      address=$(docker inspect --format "{{(index .NetworkSettings.Networks \"$network\").IPAddress}}" "$name")
      [ -n "$address" ] || fail "$name is not in the network $network"
      if [ -z "$dry_run" ]; then undo=("$(quoted docker network connect --ip "$address" "$network" "$name")"); fi
      change docker network disconnect "$network" "$name"
      ;;
    pid)
      [ -n "$port" ] || wrong 'missing: --port'
      need iptables
      rule=(INPUT -p tcp --dport "$port" -j DROP)
      if [ -z "$dry_run" ]; then undo=("$(quoted iptables -w 5 -D "${rule[@]}")"); fi
      change iptables -w 5 -I "${rule[@]}" || {
        undo=()
        fail 'iptables did not take the rule: it needs root'
      }
      ;;
    pod) wrong 'a pod can be killed only' ;;
  esac
}

strike() {
  case $action:$kind in
    kill:pid) change kill -KILL "$name" ;;
    kill:container) change docker kill --signal KILL "$name" ;;
    kill:pod) change kubectl --namespace "${name%/*}" delete pod "${name#*/}" --grace-period 0 --force ;;
    pause:pid)
      if [ -z "$dry_run" ]; then undo=("kill -CONT $name"); fi
      change kill -STOP "$name"
      ;;
    pause:container)
      if [ -z "$dry_run" ]; then undo=("$(quoted docker unpause "$name")"); fi
      change docker pause "$name"
      ;;
    pause:pod) wrong 'a pod can be killed only' ;;
    partition:*) partition ;;
  esac
}

all_healthy() {
  local url count=0
  for url in $(list "$replicas"); do
    HTTP_SECONDS=2 look_at "$url"
    if [ "$health_state" != ok ]; then count=$((count + 1)); fi
  done
  unhealthy=$count
  if [ "$count" -gt "$most_unhealthy" ]; then most_unhealthy=$count; fi
  [ "$count" -eq 0 ]
}
some_unhealthy() { ! all_healthy; }

"$scripts/health-check.sh" --replicas "$replicas" || [ -n "$force" ] || fail 'not all replicas are healthy: nothing was done'
most_unhealthy=0 unhealthy=0
strike
if [ -n "$dry_run" ]; then
  if [ "$action" != kill ]; then say "would wait for $duration s, and put it right"; fi
  exit 0
fi
began=$SECONDS
noticed='not at all'
if [ "$action" = kill ]; then
  # One that is started again at once may never be seen down.
  if within 3 some_unhealthy; then noticed="after $((SECONDS - began)) s"; fi
  if [ -n "$restart" ]; then bash -euo pipefail -c "${restart//'{target}'/$name}" || fail "--restart ended with $?"; fi
else
  if within "$duration" some_unhealthy; then noticed="after $((SECONDS - began)) s"; fi
  left=$((began + duration - SECONDS))
  # In the background: a signal is heard at once.
  if [ $left -gt 0 ]; then
    sleep $left &
    wait $!
  fi
  put_right
fi
if ! within "$wait_seconds" all_healthy; then
  "$scripts/health-check.sh" --replicas "$replicas" || true
  say "$unhealthy replicas are not healthy after $wait_seconds s" >&2
  exit 2
fi
say "$action of $target: noticed $noticed, $most_unhealthy not healthy at once at most, all healthy $((SECONDS - began)) s after it began"
"$scripts/health-check.sh" --replicas "$replicas"
