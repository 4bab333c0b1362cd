#!/usr/bin/env bash
# Builds the image and uses it as a container would: any user, read-only root, nothing in it but the binary and the
# certificates. With buildah the image is a real one, made from the last stage of the Dockerfile; without it the same
# files are put into an empty folder. No registry is needed, since the stage is FROM scratch and the binary is built
# here. Exits 0 when everything held, 77 when this machine can do neither.
set -euo pipefail
cd "$(dirname "$0")/../.."
user=65532
target=$(uname -m)-unknown-linux-gnu
built=${CARGO_TARGET_DIR:-target}
work=$(mktemp -d)
simulator='' daemon=''
buildah=(buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs)
container=''

cleanup() {
  [[ -n $daemon ]] && kill "$daemon" 2>/dev/null
  [[ -n $simulator ]] && kill "$simulator" 2>/dev/null
  wait 2>/dev/null
  if [[ -n $container ]]; then
    "${buildah[@]}" rm "$container" >/dev/null
    "${buildah[@]}" rmi --all --force >/dev/null
  fi
  rm -rf "$work"
}
trap cleanup EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

if [[ $(id -u) -ne 0 ]] || ! unshare --mount true 2>/dev/null; then
  echo "!!!!! SKIPPED: building and running the image takes root and a mount namespace"
  exit 77
fi

echo "--- the static binary"
RUSTFLAGS='-C target-feature=+crt-static' \
  cargo build --locked --release --no-default-features -p convault --target "$target"
binary=$built/$target/release/convault
ldd "$binary" 2>&1 | grep -qE 'statically linked|not a dynamic executable' || fail "$binary is not static"
"$binary" --help | grep -q simulate && fail "the packaged binary has the simulator"
echo "$(stat -c %s "$binary") bytes"

echo "--- the image"
context=$work/context
install -D "$binary" "$context/image/convault"
install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$context/image/etc/ssl/certs/ca-certificates.crt"
install -d -m 0755 "$context/image/etc/convault"
install -d -m 0777 "$context/image/var/lib/convault"
sed -n '/^FROM scratch/,$p' deploy/docker/Dockerfile | sed 's/--from=build \/image\//image\//' >"$context/Dockerfile"
if command -v buildah >/dev/null && "${buildah[@]}" bud --isolation chroot --format docker -t convault "$context" >"$work/bud.log" 2>&1; then
  way="buildah $(buildah --version | awk '{print $3}')"
  container=$("${buildah[@]}" from localhost/convault)
  said=$("${buildah[@]}" inspect --type image --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}} {{.Docker.Config.Healthcheck.Test}}' localhost/convault)
  [[ $said == "65532:65532 [/convault] [run] [CMD /convault status --json]" ]] || fail "the image says $said"
  root=$("${buildah[@]}" mount "$container")
else
  [[ -s $work/bud.log ]] && tail -5 "$work/bud.log"
  way="an empty folder and chroot, since there is no buildah that works here"
  root=$context/image
fi
echo "made with $way"
# Before anything runs in it, which leaves mount points such as /etc/hosts behind.
find "$root" -type f
[[ $(find "$root" -type f | wc -l) -eq 2 ]] || fail "there is not just the binary and the certificates in the image"
[[ -z $container ]] || "${buildah[@]}" run --isolation chroot "$container" -- /convault --version

echo "--- a deployment to back up"
simulating=$built/release/convault
[[ -x $simulating ]] || cargo build --locked --release
key='image-check|0123456789abcdef'
"$simulating" simulate --listen 127.0.0.1:0 --key "$key" --tables 3 --documents 200 --files 5 >"$work/simulator" &
simulator=$!
for _ in $(seq 100); do grep -q '^deployment ' "$work/simulator" && break; sleep 0.1; done
url=$(awk '/^deployment /{print $2}' "$work/simulator")
[[ -n $url ]] || fail "the simulator did not start"

echo "--- the container at $url"
# What a container engine adds to an image: mount points, a volume, and the settings.
mkdir -p "$root/backups" "$root/dev" "$root/proc" "$work/volume" "$work/settings" "$work/backups" "$work/mount"
cat >"$work/settings/convault.toml" <<SETTINGS
[daemon]
listen = "127.0.0.1:0"
state_dir = "/var/lib/convault"

[[deployment]]
name = "crm"
url = "$url"
key = { file = "key" }

[[destination]]
name = "shelf"
directory = "/backups"

[[job]]
name = "nightly"
deployment = "crm"
schedule = "0 3 * * *"
to = ["shelf"]
keep = { daily = 7 }
SETTINGS
printf '%s\n' "$key" >"$work/settings/key"
chmod 0400 "$work/settings/key"
chmod 0755 "$work"
chown -R "$user:$user" "$work/volume" "$work/settings" "$work/backups"

# Everything but the volume and the destination is read-only, for a user whom the image does not know.
run_image() {
  exec unshare --mount --propagation private bash -c '
    set -e
    root=$1 work=$2 user=$3
    shift 3
    mount --bind "$root" "$work/mount"
    mount -o remount,bind,ro "$work/mount"
    mount --bind "$work/settings" "$work/mount/etc/convault"
    mount -o remount,bind,ro "$work/mount/etc/convault"
    mount --bind "$work/volume" "$work/mount/var/lib/convault"
    mount --bind "$work/backups" "$work/mount/backups"
    mount --rbind /dev "$work/mount/dev"
    mount --bind /proc "$work/mount/proc"
    # As the Dockerfile sets them.
    exec env -i CONVAULT_SOCKET=/var/lib/convault/convault.sock CONVAULT_LOG=json \
      "$(command -v chroot)" --userspec="$user:$user" "$work/mount" /convault "$@"
  ' run-image "$root" "$work" "$user" "$@"
}

(run_image check) >"$work/check" || { cat "$work/check"; fail "convault check"; }
code=0
(run_image status --json) >/dev/null 2>&1 || code=$?
[[ $code -eq 69 ]] || fail "without a daemon, status exits $code and not 69"
run_image run 2>"$work/log" &
daemon=$!
healthy=''
for _ in $(seq 100); do
  (run_image status --json) >"$work/status" 2>/dev/null && { healthy=1; break; }
  sleep 0.2
done
[[ -n $healthy ]] || { cat "$work/log"; fail "the health check never passed"; }
(run_image backup nightly) || { cat "$work/log"; fail "backup"; }
(run_image list)
(run_image verify --read-data) || fail "verify"
(run_image download latest --output -) >"$work/snapshot.zip" || fail "download"
unzip -tq "$work/snapshot.zip"
kill -TERM "$daemon"
code=0
wait "$daemon" || code=$?
daemon=''
[[ $code -eq 0 ]] || { cat "$work/log"; fail "the daemon ended with $code"; }
echo "image made with $way; run as user $user on a read-only root: check, run, status, backup, list, verify, download"
