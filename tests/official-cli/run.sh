#!/usr/bin/env bash
# Checks the simulator with the official Convex command line: what it exports from one deployment it imports into an
# empty second one, whose export is then the same, entry by entry; and it sets, lists and reads as on a real backend.
#
# Usage: tests/official-cli/run.sh [BINARY], or tests/official-cli/run.sh --install
# BINARY is a `convault` with the `simulate` verb; without it, one is built. The command line is installed once, pinned
# by the lock file beside this script, into .cache/official-cli; `--install` does that and no more. Needs bash, node 20 or later, and npm.
# Exits 0 only where everything holds, and leaves nothing running.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache="$root/.cache/official-cli"
work=$(mktemp -d "${TMPDIR:-/tmp}/convault-official-cli.XXXXXX")
key='convex-self-hosted|01c046ab1512d9306a1e3bbd4e26e30aa9d0f9fe2b93d4c3'
servers=()
held=0

finish() {
    local code=$?
    for server in "${servers[@]}"; do
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    done
    if [ "$code" -eq 0 ]; then
        rm -rf "$work"
    else
        echo "official-cli: failed; its files are in $work" >&2
    fi
}
trap finish EXIT

fail() {
    echo "official-cli: $*" >&2
    exit 1
}

# Counts a check that holds; everything in front of it has already been proved by `set -e`.
holds() {
    held=$((held + 1))
    echo "  holds: $*"
}

install_cli() {
    command -v node >/dev/null || fail "node is missing: install Node.js 20 or later"
    command -v npm >/dev/null || fail "npm is missing: install it beside Node.js"
    mkdir -p "$cache"
    if ! cmp -s "$here/package-lock.json" "$cache/installed.lock"; then
        cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$cache/"
        (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
        cp "$here/package-lock.json" "$cache/installed.lock"
    fi
}

# Starts a simulated deployment with the given arguments; sets `url`.
start() {
    local log="$work/simulator-${#servers[@]}.log"
    "$binary" simulate --listen 127.0.0.1:0 --key "$key" "$@" >"$log" 2>&1 &
    servers+=($!)
    for _ in $(seq 1 100); do
        url=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$log" | head -n 1 || true)
        [ -z "$url" ] || return 0
        kill -0 "${servers[-1]}" 2>/dev/null || fail "the simulator did not start: $(cat "$log")"
        sleep 0.1
    done
    fail "the simulator did not say within 10 s where it listens: $(cat "$log")"
}

# Runs the official command line against the deployment at $1. It asks for a package.json where it is run.
convex() {
    local at=$1
    shift
    (
        cd "$work"
        unset CONVEX_DEPLOY_KEY CONVEX_DEPLOYMENT CONVEX_DEPLOYMENT_TOKEN
        CONVEX_SELF_HOSTED_URL=$at CONVEX_SELF_HOSTED_ADMIN_KEY=$key CI=1 \
            timeout 120 node "$cache/node_modules/convex/bin/main.js" "$@"
    )
}

same_entries() {
    node "$here/entries.mjs" "$1" >"$1.entries"
    node "$here/entries.mjs" "$2" >"$2.entries"
    diff "$1.entries" "$2.entries" >&2 || fail "$1 and $2 differ in the entries above"
}

if [ "${1:-}" = --install ]; then
    install_cli
    exit 0
fi
binary=${1:-}
if [ -z "$binary" ]; then
    (cd "$root" && cargo build --locked --quiet --package convault)
    binary="${CARGO_TARGET_DIR:-$root/target}/debug/convault"
fi
binary=$(realpath "$binary")
install_cli
cp "$here/package.json" "$work/package.json"

start --seed 7 --tables 3 --documents 250 --files 5 --file-bytes 5000 --components 2
full=$url
start
second=$url

echo "export and import"
convex "$full" export --include-file-storage --path first.zip 2>"$work/export.log"
entries=$(node "$here/entries.mjs" "$work/first.zip" | wc -l)
[ "$entries" -gt 10 ] || fail "the export has only $entries entries"
holds "export --include-file-storage writes $entries entries"

convex "$second" import --replace-all -y first.zip 2>"$work/import.log"
grep -q 'Added [0-9]* documents' "$work/import.log" || fail "import said: $(cat "$work/import.log")"
holds "import --replace-all into an empty deployment: $(grep -o 'Added [0-9]* documents' "$work/import.log")"

convex "$second" export --include-file-storage --path second.zip 2>>"$work/export.log"
same_entries "$work/first.zip" "$work/second.zip"
holds "the second export is the same, entry by entry"

convex "$second" import --replace-all -y second.zip 2>>"$work/import.log"
convex "$second" export --include-file-storage --path third.zip 2>>"$work/export.log"
same_entries "$work/first.zip" "$work/third.zip"
holds "import --replace-all over a full deployment changes nothing"

convex "$second" export --path documents.zip 2>>"$work/export.log"
node "$here/entries.mjs" "$work/documents.zip" >"$work/documents.entries"
! grep -q '_storage/' "$work/documents.entries" || fail "an export without files has files"
grep -v '_storage/' "$work/first.zip.entries" | diff - "$work/documents.entries" >&2 || fail "documents differ"
holds "export without files has the documents alone"

convex "$second" export --path . 2>>"$work/export.log"
ls "$work"/snapshot_convex-self-hosted_[0-9]*.zip >/dev/null || fail "no file is named after the deployment"
holds "export into a folder is named after the deployment and the snapshot"

if convex "$second" import first.zip >"$work/refused.log" 2>&1; then
    fail "an import in the default mode onto a full deployment succeeded"
fi
grep -q 'already exists' "$work/refused.log" || fail "it was refused with: $(cat "$work/refused.log")"
holds "import in the default mode onto a full deployment exits 1"

printf '{"n": 1}\n{"n": 2}\n' >"$work/rows.jsonl"
convex "$second" import --table rows --append rows.jsonl 2>"$work/append.log"
grep -q 'Added 2 documents' "$work/append.log" || fail "append said: $(cat "$work/append.log")"
holds "import --table --append makes a table"

echo "environment variables"
convex "$second" env set GREETING 'good morning' 2>/dev/null
convex "$second" env set OTHER 1 2>/dev/null
convex "$second" env remove OTHER 2>/dev/null
convex "$second" env list >"$work/env.txt" 2>/dev/null
grep -q '^GREETING=.*good morning' "$work/env.txt" || fail "env list said: $(cat "$work/env.txt")"
[ "$(wc -l <"$work/env.txt")" -eq 1 ] || fail "env list still shows a removed variable"
[ "$(convex "$second" env get GREETING 2>/dev/null)" = 'good morning' ] || fail "env get does not answer the value"
holds "env set, remove, list and get"

echo "data"
convex "$second" data >"$work/tables.txt" 2>/dev/null
{
    sed -n 's|^[0-9a-f]* [0-9]* \([A-Za-z][A-Za-z0-9_]*\)/documents.jsonl$|\1|p' "$work/first.zip.entries"
    echo rows
} | sort | diff - <(sort "$work/tables.txt") >&2 || fail "data lists other tables than the export has"
holds "data lists the $(wc -l <"$work/tables.txt") tables of the root"

table=$(grep -v '^rows$' "$work/tables.txt" | head -n 1)
convex "$second" data "$table" --limit 20 --format jsonl >"$work/rows.txt" 2>/dev/null
[ "$(wc -l <"$work/rows.txt")" -eq 20 ] || fail "data $table shows $(wc -l <"$work/rows.txt") documents instead of 20"
grep -q '"_creationTime"' "$work/rows.txt" || fail "data $table shows no documents: $(head -c 300 "$work/rows.txt")"
convex "$second" data "$table" >"$work/pretty.txt" 2>/dev/null
[ "$(wc -l <"$work/pretty.txt")" -eq 102 ] || fail "data $table shows $(wc -l <"$work/pretty.txt") lines instead of 102"
holds "data $table shows the latest documents"

echo "official-cli: $held checks hold, $entries entries byte for byte the same through export, import and export"
