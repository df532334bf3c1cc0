#!/usr/bin/env bash
# Copies a store to another bucket, region or folder, and looks whether the copy is whole.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: backup.sh --from URL --to URL [options]

Copies what the copy has not got yet (`reductrai storage copy`), walks it (`reductrai verify`), and compares what is kept per signal, tier and
day on both sides. The store may be in use meanwhile: the copy has at least what was archived when it began. Nothing is deleted, and of
what is in the copy nothing is overwritten.

  --from URL, --to URL  /path, file:///path, s3://bucket/prefix?region=…, gs://bucket/prefix, azblob://account/container/prefix; credentials of
                        both from the environment, as for the proxy
  --concurrent N        objects copied at once (8)
  --check-present       also read what was copied earlier on both sides, and compare
  --encrypted           copy encrypted objects as they are; verify and compare need the key
  --quick               verify sizes and footers only
  --attempts N          where a store in use changes under the copy (3)
  --dry-run             say what is kept, and what would be run

With DURABILITY=disk what replicas have not archived yet is on their disks, not in the store (REDUCTRAI_ARCHIVE_FLUSH_AFTER, 5 minutes).
A store of a tier of its own (STORAGE_COLD_URL …) needs a backup of its own. Safe to repeat: later runs copy what is new.
Exit code: 0 the copy is whole, 1 it is not, or could not be made, 64 wrong options, 69 a program is missing.
USAGE
}

from='' to='' options=() verify_options=() attempts=3
while [ $# -gt 0 ]; do
  case $1 in
    --from) from=${2:?} && shift 2 ;;
    --to) to=${2:?} && shift 2 ;;
    --concurrent) whole_number "$1" "${2-}" && options+=(--concurrent "$2") && shift 2 ;;
    --check-present | --encrypted) options+=("$1") && shift ;;
    --quick) verify_options+=(--quick) && shift ;;
    --attempts) whole_number "$1" "${2-}" && attempts=$2 && shift 2 ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
[ -n "$from" ] || wrong 'missing: --from'
[ -n "$to" ] || wrong 'missing: --to'
[ "$from" != "$to" ] || wrong '--from and --to are the same store'

# kept URL: signal, tier, day and rows, a line each.
kept() {
  STORAGE_URL=$1 reductrai ls --format ndjson |
    sed -n '/"signal":"total"/d; s/.*"signal":"\([^"]*\)","tier":"\([^"]*\)","day":"\([^"]*\)".*"rows":\([0-9]*\).*/\1 \2 \3 \4/p' | sort
}

rows() { awk '{ sum += $NF } END { printf "%d\n", sum }'; }

before=$(kept "$from")
# Before the first flush there are journals only.
users=$(STORAGE_URL=$from reductrai ha status --format ndjson) || fail "$from cannot be read"
[ -n "$before$users" ] || fail "nothing is kept in $from"
say "$from: $(rows <<<"$before") rows"
if [ -n "$dry_run" ]; then
  change reductrai storage copy --from "$from" --to "$to" "${options[@]}"
  say "would run: STORAGE_URL=$(quoted "$to") reductrai verify ${verify_options[*]}"
  exit 0
fi

copy_and_verify() {
  reductrai storage copy --from "$from" --to "$to" "${options[@]}" && STORAGE_URL=$to reductrai verify "${verify_options[@]}"
}

for ((attempt = 1; ; attempt++)); do
  if copy_and_verify; then break; fi
  [ "$attempt" -lt "$attempts" ] || fail "the copy is not whole after $attempt attempts"
  say "once more: what changed meanwhile is copied now"
  sleep 1
done

# A store in use grows, is merged and expires while it is copied: the copy has what was kept at some moment since the beginning.
copied=$(kept "$to")
after=$(kept "$from")
have=$(rows <<<"$copied") least=$(rows <<<"$before") most=$(rows <<<"$after")
if [ "$least" -gt "$most" ]; then
  most=$least least=$(rows <<<"$after")
fi
if [ "$have" -lt "$least" ] || [ "$have" -gt "$most" ] || { [ "$before" = "$after" ] && [ "$copied" != "$after" ]; }; then
  printf 'in %s\n%s\nin %s\n%s\n' "$from" "$after" "$to" "$copied" >&2
  fail "the copy has $have rows, not $least to $most as the store"
fi
say "$to: $have rows; the copy is whole"
