#!/usr/bin/env bash
# Tries the static file where nothing else is: in an empty root, without /dev, /etc and libraries.
#
#   packaging/try-static.sh [FILE]
#
# FILE is target/static/inferometer (packaging/static.sh). Needs to be root (for chroot), openssl and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:-target/static/inferometer}
root=$(mktemp -d) outside=$(mktemp -d)
server='' names=''
trap 'kill $server $names 2>/dev/null || true; rm -rf "$root" "$outside"' EXIT
cp "$file" "$root/inferometer"
chroot=$(command -v chroot)
inside() { env -i "${vars[@]}" "$chroot" "$root" /inferometer "$@"; }
vars=(NO_COLOR=1)
fail() { printf 'static file: %s\n' "$1" >&2; exit 1; }

echo "-- nothing but the file"
inside --version
# Random numbers: ids of requests differ from run to run although there is no /dev/urandom.
for run in a b; do
  inside quickstart --num-prompts 20 --runs-dir "/$run" > "$outside/$run.txt" || fail "quickstart: $(cat "$outside/$run.txt")"
  grep '^Verdict:' "$outside/$run.txt"
  grep -oh '"request_id_prefix": *"[^"]*"' "$root/$run"/*/manifest.json > "$outside/$run.id"
done
if cmp -s "$outside/a.id" "$outside/b.id"; then fail "two runs have the same request ids: $(cat "$outside/a.id")"; fi

echo "-- names of /etc/hosts and of a name server; certificates; time zones"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext basicConstraints=critical,CA:TRUE \
  -keyout "$outside/ca.key" -out "$outside/ca.pem" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout "$outside/key.pem" -out "$outside/request.pem" 2>/dev/null
printf 'subjectAltName=DNS:by-file.test,DNS:by-server.test\nbasicConstraints=CA:FALSE\n' > "$outside/names"
openssl x509 -req -in "$outside/request.pem" -CA "$outside/ca.pem" -CAkey "$outside/ca.key" -CAcreateserial -days 2 \
  -extfile "$outside/names" -out "$outside/cert.pem" 2>/dev/null
# A name server that knows one name, on an address of its own.
python3 - <<'PY' &
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.53", 53))
while True:
    query, client = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    kind, known = query[end - 4 : end - 2], query[12 : end - 4] == b"\x09by-server\x04test\0"
    answers = [b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton("127.0.0.1")] if known and kind == b"\0\x01" else []
    head = query[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\x01" + len(answers).to_bytes(2, "big") + b"\0\0\0\0"
    server.sendto(head + query[12:end] + b"".join(answers), client)
PY
names=$!
"$file" sim --port 0 --ttft 5 --itl 1 --tls-cert "$outside/cert.pem" --tls-key "$outside/key.pem" > "$outside/sim.txt" &
server=$!
for _ in $(seq 50); do port=$(grep -m1 -o ':[0-9]\+' "$outside/sim.txt" | head -1 | tr -d :) && break; sleep 0.1; done
mkdir "$root/etc"
printf '127.0.0.1 by-file.test\n' > "$root/etc/hosts"
printf 'nameserver 127.0.0.53\n' > "$root/etc/resolv.conf"
run() {
  inside run --base-url "https://$1:$port" --tokenizer builtin --num-prompts 10 --random-output-len 5 --no-run-folder \
    --disable-tqdm --save-result --result-filename /r.json > "$outside/run.txt" 2>&1
}
if run by-file.test; then fail "a certificate was trusted without an authority"; fi
grep -i certificate "$outside/run.txt" || fail "no word of the certificate: $(cat "$outside/run.txt")"
cp "$outside/ca.pem" "$root/etc/ca.pem"
vars+=(SSL_CERT_FILE=/etc/ca.pem)
for host in by-file.test by-server.test; do
  run "$host" || fail "$host: $(cat "$outside/run.txt")"
  printf '%s: %s\n' "$host" "$(grep 'Successful requests' "$outside/run.txt")"
done
if run unknown.test; then fail "an unknown name was resolved"; fi
grep -i 'unknown.test' "$outside/run.txt" | head -1 || fail "no word of the name: $(cat "$outside/run.txt")"

# vLLM's file has local time: that of the zone where there is one, and UTC without zones.
hour() { python3 -c 'import json, sys; print(int(json.load(open(sys.argv[1]))["date"][9:11]))' "$root/r.json"; }
vars+=(TZ=Asia/Kathmandu)
run by-file.test || fail "without zones: $(cat "$outside/run.txt")"
without=$(hour)
mkdir -p "$root/usr/share/zoneinfo/Asia"
cp /usr/share/zoneinfo/Asia/Kathmandu "$root/usr/share/zoneinfo/Asia/"
run by-file.test || fail "with zones: $(cat "$outside/run.txt")"
printf 'hour in UTC %s; without zones %s; in Kathmandu %s\n' "$(date -u +%H)" "$without" "$(hour)"
[ $(((24 + $(hour) - without) % 24)) -ge 5 ] || fail "the time zone is ignored"
echo "-- works"
