#!/usr/bin/env bash
# An Application Load Balancer in front of reductrai-proxy replicas, by the AWS CLI. Safe to repeat: what is there already is used.
# NOT EXECUTED against AWS by the project's tests: they run it with a stand-in for `aws`.
#
#   alb.sh --vpc vpc-1 --subnets subnet-a,subnet-b --security-group sg-1 --certificate arn:… --targets 10.0.1.5,10.0.2.5,10.0.3.5
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: alb.sh --vpc ID --subnets ID,ID --security-group ID --certificate ARN [options]

  --targets IP,IP     replicas to register; others stay as they are (ECS and the AWS Load Balancer Controller register their own)
  --name NAME         of the balancer and the target group (reductrai-proxy)
  --scheme SCHEME     internal (default) or internet-facing
  --port PORT         of the replicas (8080)
  --dry-run           say what would be done, and do nothing
  --help
USAGE
}

name=reductrai-proxy scheme=internal port=8080 dry_run='' vpc='' subnets='' group='' certificate='' targets=''
while [ $# -gt 0 ]; do
  case $1 in
    --vpc) vpc=${2:?} && shift 2 ;;
    --subnets) subnets=${2:?} && shift 2 ;;
    --security-group) group=${2:?} && shift 2 ;;
    --certificate) certificate=${2:?} && shift 2 ;;
    --targets) targets=${2:?} && shift 2 ;;
    --name) name=${2:?} && shift 2 ;;
    --scheme) scheme=${2:?} && shift 2 ;;
    --port) port=${2:?} && shift 2 ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) echo "unknown option: $1" >&2 && usage >&2 && exit 2 ;;
  esac
done
for needed in vpc subnets group certificate; do
  [ -n "${!needed}" ] || { echo "missing: --${needed/group/security-group}" >&2 && exit 2; }
done

# change ARGS…: `aws ARGS…`, or with --dry-run the command as it would be
change() {
  if [ -n "$dry_run" ]; then
    printf 'aws' >&2
    printf ' %q' "$@" >&2
    printf '\n' >&2
    echo "dry-run"
  else
    aws "$@"
  fi
}

# found ARGS…: the first value that `aws ARGS…` prints, or nothing where there is none
found() {
  local value
  value=$(aws "$@" --output text 2>/dev/null || true)
  if [ "$value" = None ]; then value=''; fi
  printf %s "$value"
}

group_arn=$(found elbv2 describe-target-groups --names "$name" --query 'TargetGroups[0].TargetGroupArn')
if [ -z "$group_arn" ]; then
  # /readyz falls at once on SIGTERM; two checks of 5 s are longer than server.drain_notice: set REDUCTRAI_DRAIN_NOTICE=15s on the replicas.
  group_arn=$(change elbv2 create-target-group --name "$name" --protocol HTTP --port "$port" --vpc-id "$vpc" --target-type ip \
    --health-check-path /readyz --health-check-interval-seconds 5 --health-check-timeout-seconds 3 \
    --healthy-threshold-count 2 --unhealthy-threshold-count 2 --matcher HttpCode=200 \
    --query 'TargetGroups[0].TargetGroupArn' --output text)
fi
# A replica drains for 30 s (server.drain_deadline). The replica with the fewest requests under way gets the next one.
change elbv2 modify-target-group-attributes --target-group-arn "$group_arn" --attributes \
  Key=deregistration_delay.timeout_seconds,Value=40 \
  Key=load_balancing.algorithm.type,Value=least_outstanding_requests >/dev/null

balancer_arn=$(found elbv2 describe-load-balancers --names "$name" --query 'LoadBalancers[0].LoadBalancerArn')
if [ -z "$balancer_arn" ]; then
  IFS=, read -ra subnet_list <<<"$subnets"
  balancer_arn=$(change elbv2 create-load-balancer --name "$name" --type application --scheme "$scheme" \
    --subnets "${subnet_list[@]}" --security-groups "$group" --query 'LoadBalancers[0].LoadBalancerArn' --output text)
fi
# Replicas keep idle connections for 75 s: this end closes first.
change elbv2 modify-load-balancer-attributes --load-balancer-arn "$balancer_arn" --attributes \
  Key=idle_timeout.timeout_seconds,Value=60 Key=routing.http.drop_invalid_header_fields.enabled,Value=true >/dev/null

# shellcheck disable=SC2016 # backticks of JMESPath
listener_arn=$(found elbv2 describe-listeners --load-balancer-arn "$balancer_arn" --query 'Listeners[?Port==`443`]|[0].ListenerArn')
if [ -z "$listener_arn" ]; then
  change elbv2 create-listener --load-balancer-arn "$balancer_arn" --protocol HTTPS --port 443 \
    --certificates "CertificateArn=$certificate" --ssl-policy ELBSecurityPolicy-TLS13-1-2-2021-06 \
    --default-actions "Type=forward,TargetGroupArn=$group_arn" >/dev/null
fi

if [ -n "$targets" ]; then
  IFS=, read -ra target_list <<<"$targets"
  change elbv2 register-targets --target-group-arn "$group_arn" --targets "${target_list[@]/#/Id=}" >/dev/null
fi

echo "target group: $group_arn"
echo "load balancer: $balancer_arn"
echo "point DNS at: $(found elbv2 describe-load-balancers --names "$name" --query 'LoadBalancers[0].DNSName')"
