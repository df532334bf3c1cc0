#!/usr/bin/env bash
# Copies a backup into an empty store, and walks what came of it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'USAGE'
Usage: restore.sh --from URL --to URL [options]

Copies everything from the backup (`reductrai storage copy`) into a store that is empty, and walks it (`reductrai verify`). No replica may
use that store yet; start them with STORAGE_URL set to it when this has ended.

  --from URL, --to URL  as of backup.sh
  --concurrent N        objects copied at once (8)
  --encrypted           copy encrypted objects as they are
  --quick               verify sizes and footers only
  --force               into a store that is not empty: to go on after an interruption. Nothing is overwritten, an object that differs is
                        an error.
  --dry-run             ask whether the store is empty and what the backup holds, say what would be run, and do nothing

Exit code: 0 restored and whole, 1 refused, not copied or not whole, 64 wrong options, 69 a program is missing.
USAGE
}

from='' to='' options=() verify_options=() force=''
while [ $# -gt 0 ]; do
  case $1 in
    --from) from=${2:?} && shift 2 ;;
    --to) to=${2:?} && shift 2 ;;
    --concurrent) whole_number "$1" "${2-}" && options+=(--concurrent "$2") && shift 2 ;;
    --encrypted) options+=("$1") && shift ;;
    --quick) verify_options+=(--quick) && shift ;;
    --force) force=yes && shift ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "unknown option: $1" ;;
  esac
done
[ -n "$from" ] || wrong 'missing: --from'
[ -n "$to" ] || wrong 'missing: --to'
[ "$from" != "$to" ] || wrong '--from and --to are the same store'

total() { STORAGE_URL=$1 reductrai ls --format ndjson | sed -n 's/.*"signal":"total".*"rows":\([0-9]*\).*/\1/p'; }

held=$(total "$from") || fail "$from cannot be read"
# Before the first flush there are journals only.
journals=$(STORAGE_URL=$from reductrai ha status --format ndjson) || fail "$from cannot be read"
[ -n "$held$journals" ] || fail "nothing is kept in $from"
say "$from: ${held:-0} rows"

# What is kept, and leases and journals of replicas: a store that anybody has used has one of them.
there=$(STORAGE_URL=$to reductrai ls --format ndjson) || fail "$to cannot be read"
users=$(STORAGE_URL=$to reductrai ha status --format ndjson) || fail "$to cannot be read"
if [ -n "$there$users" ]; then
  [ -n "$force" ] || fail "$to is not empty: restore into another prefix or bucket (--force: go on with what was begun)"
  say "$to is not empty: what is there stays"
fi

change reductrai storage copy --from "$from" --to "$to" "${options[@]}" || fail 'not all was copied: run it again with --force'
if [ -n "$dry_run" ]; then
  say "would run: STORAGE_URL=$(quoted "$to") reductrai verify ${verify_options[*]}"
  exit 0
fi
STORAGE_URL=$to reductrai verify "${verify_options[@]}" || fail "what was restored is not whole; was the backup? STORAGE_URL=$(quoted "$from") reductrai verify"
restored=$(total "$to")
[ "$restored" = "$held" ] || [ -n "$there" ] || fail "${restored:-0} rows were restored, of ${held:-0}"
say "$to: ${restored:-0} rows, verified. Start the replicas with STORAGE_URL=$(quoted "$to")"
