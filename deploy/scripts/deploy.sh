#!/usr/bin/env bash
# Brings a version out with what the machine runs, waits until it is healthy, and verifies it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: deploy.sh --with compose|swarm|kubernetes|helm|systemd --url URL [options]

Checks the settings (`reductrai check-config`) and the manifests before anything changes, applies them, waits until every replica is healthy
and of the wanted version, and runs verify-deployment.sh.

  --with compose      docker compose -f FILE up -d --wait               (--file, default deploy/compose/compose.ha.yml)
  --with swarm        docker stack deploy -c FILE NAME                  (--file, default deploy/swarm/stack.yml; --name, reductrai)
  --with kubernetes   kubectl apply -k FOLDER, and its rollout          (--overlay FOLDER of deploy/kubernetes/overlays)
  --with helm         helm upgrade --install NAME deploy/helm/…         (--values FILE; --name, reductrai)
  --with systemd      unit and environment file in place, restarted     (as root, on the machine itself)

  --url URL           where agents send, as it can be reached from here
  --replicas URLS     where the replicas answer themselves; without it only --url is waited for
  --version VERSION   the image's tag (REDUCTRAI_VERSION), and what /health has to say afterwards
  --env-file FILE     the proxy's settings, to be checked first; with compose also for its variables; with systemd it becomes
                      /etc/reductrai/proxy.env
  --namespace NAME    of Kubernetes and Helm (reductrai)
  --root FOLDER       with systemd: instead of / (for images)
  --deadline SECONDS  for all to be healthy (300)
  --no-verify         do not send anything afterwards
  --dry-run           check, say what would be done, and do nothing

Safe to repeat: what is as it should be stays. A Compose update replaces all containers at once: rolling-update.sh goes one by one.
Exit code: 0 deployed and verified, 1 refused (nothing was changed) or failed, 2 deployed, but not healthy or not verified, 64 wrong options,
69 a program is missing.
USAGE
}

with='' url='' replicas='' version='' env_file='' file='' overlay='' values='' name=reductrai namespace=reductrai root='' deadline=300 verify=yes
while [ $# -gt 0 ]; do
  case $1 in
    --with) with=${2:?} && shift 2 ;;
    --url) url=$(list "${2:?}") && shift 2 ;;
    --replicas) replicas=${2:?} && shift 2 ;;
    --version) version=${2:?} && shift 2 ;;
    --env-file) env_file=${2:?} && shift 2 ;;
    --file) file=${2:?} && shift 2 ;;
    --overlay) overlay=${2:?} && shift 2 ;;
    --values) values=${2:?} && shift 2 ;;
    --name) name=${2:?} && shift 2 ;;
    --namespace) namespace=${2:?} && shift 2 ;;
    --root) root=${2:?} && shift 2 ;;
    --deadline) whole_number "$1" "${2-}" && deadline=$2 && shift 2 ;;
    --no-verify) verify='' && shift ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
[ -n "$with" ] || wrong 'missing: --with'
[ -n "$url" ] || wrong 'missing: --url'
manifests=$scripts/..
for one in "$env_file" "$values"; do [ -z "$one" ] || [ -r "$one" ] || fail "$one cannot be read"; done
if [ -n "$version" ]; then export REDUCTRAI_VERSION=$version; fi

# Lines NAME=VALUE, as systemd and Compose read them; the proxy's own words say what is wrong. No other variable of this shell takes part, and
# what is secret among them stands in no command line.
check_settings() {
  local settings said
  mapfile -t settings < <(sed -n 's/^ *\([A-Z][A-Z0-9_]*=\)"\{0,1\}\([^"]*\)"\{0,1\}$/\1\2/p' "$env_file")
  said=$(
    for variable in $(compgen -e); do
      case $variable in PATH | HOME | REDUCTRAI) ;; *) unset "$variable" 2>/dev/null || true ;; esac
    done
    if [ ${#settings[@]} -gt 0 ]; then export "${settings[@]}"; fi
    reductrai check-config 2>&1
  ) || fail "the settings in $env_file have problems: nothing was changed"$'\n'"$said"
  say "the settings in $env_file are fine"
}
if [ -n "$env_file" ]; then check_settings; fi

# Each kind: first what only looks, then what changes.
case $with in
  compose)
    need docker
    file=${file:-$manifests/compose/compose.ha.yml}
    compose=(docker compose -f "$file")
    if [ -n "$env_file" ]; then compose+=(--env-file "$env_file"); fi
    "${compose[@]}" config --quiet || fail "$file has problems: nothing was changed"
    change "${compose[@]}" up --detach --wait --wait-timeout "$deadline"
    ;;
  swarm)
    need docker
    file=${file:-$manifests/swarm/stack.yml}
    docker stack config --compose-file "$file" >/dev/null || fail "$file has problems: nothing was changed"
    change docker stack deploy --compose-file "$file" --with-registry-auth "$name"
    ;;
  kubernetes)
    need kubectl
    [ -n "$overlay" ] || wrong 'missing: --overlay'
    objects=$(kubectl kustomize "$overlay") || fail "$overlay has problems: nothing was changed"
    # shellcheck disable=SC2001 # not for the shell's own patterns
    if [ -n "$version" ]; then objects=$(sed "s|^\( *\(- \)\{0,1\}image: reductrai/proxy\)\(:.*\)\{0,1\}$|\1:$version|" <<<"$objects"); fi
    kubectl apply --filename - --dry-run=client >/dev/null <<<"$objects" || fail "$overlay is not accepted: nothing was changed"
    workload=$(awk '/^kind: (Deployment|StatefulSet)$/ { print $2; exit }' <<<"$objects")
    [ -n "$workload" ] || fail "$overlay has neither a Deployment nor a StatefulSet"
    workload=${workload,,}/reductrai-proxy
    change kubectl apply --filename - <<<"$objects"
    change kubectl --namespace "$namespace" rollout status "$workload" --timeout "${deadline}s"
    ;;
  helm)
    need helm
    chart=(upgrade --install "$name" "$manifests/helm/reductrai-proxy" --namespace "$namespace" --create-namespace)
    if [ -n "$values" ]; then chart+=(--values "$values"); fi
    if [ -n "$version" ]; then chart+=(--set "image.tag=$version"); fi
    helm lint --strict "$manifests/helm/reductrai-proxy" ${values:+--values "$values"} >/dev/null || fail 'the chart has problems with these values: nothing was changed'
    # Back by itself when it does not get healthy.
    change helm "${chart[@]}" --atomic --timeout "${deadline}s"
    ;;
  systemd)
    need systemctl install
    unit=$root/etc/systemd/system/reductrai-proxy.service
    if ! cmp -s "$manifests/systemd/reductrai-proxy.service" "$unit"; then
      change install -D -m 644 "$manifests/systemd/reductrai-proxy.service" "$unit"
      change systemctl daemon-reload
    fi
    if [ -n "$env_file" ] && ! cmp -s "$env_file" "$root/etc/reductrai/proxy.env"; then
      change install -D -m 600 "$env_file" "$root/etc/reductrai/proxy.env"
    fi
    change systemctl enable reductrai-proxy.service
    change systemctl restart reductrai-proxy.service
    ;;
  *) wrong '--with compose, swarm, kubernetes, helm or systemd' ;;
esac
if [ -n "$dry_run" ]; then exit 0; fi

are_healthy() { "$scripts/health-check.sh" --replicas "${replicas:-$url}" ${version:+--version "$version"} >/dev/null; }
if ! within "$deadline" are_healthy; then
  "$scripts/health-check.sh" --replicas "${replicas:-$url}" ${version:+--version "$version"} || true
  say "deployed, but not healthy after $deadline s" >&2
  exit 2
fi
"$scripts/health-check.sh" --replicas "${replicas:-$url}"
[ -n "$verify" ] || exit 0
"$scripts/verify-deployment.sh" --url "$url" ${replicas:+--replicas "$replicas"} --in-flight 1000 || exit 2
