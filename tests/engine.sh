#!/usr/bin/env bash
# Runs a command beside a container engine of its own that has Lambda's base image: tests/engine.sh COMMAND...
# What Debian lacks is installed, what takes long is kept under .pipeline/engine. Where there is no Debian or no root the
# command runs without; the tests that need an engine are then skipped, or fail where CI is set.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$PWD/.pipeline/engine
python=${PIPELINE_PYTHON:-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')}
declare -A suites=([3.11]=bookworm [3.13]=trixie)
suite=${suites[$python]:-}

if [ "$(id -u)" != 0 ] || [ -z "$suite" ] || ! command -v apt-get > /dev/null; then
  echo "! no container engine: root on Debian is needed, and a Debian with Python $python" >&2
  exec "$@"
fi

mkdir -p "$home"
missing=()
for need in dockerd:docker.io containerd:containerd runc:runc iptables:iptables ip:iproute2 buildah:buildah mmdebstrap:mmdebstrap; do
  command -v "${need%:*}" > /dev/null || missing+=("${need#*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}") > "$home/apt.log" 2>&1
fi

# The base image, as near to AWS's as can be had without a registry: Debian's Python, AWS's runtime interface client and
# emulator, and the same entrypoint.
base=$home/base-$python.tar
if [ ! -f "$base" ]; then
  make --silent setup
  stage=$home/stage
  rm -rf "$stage"
  mkdir -p "$stage/var/task" "$stage/var/runtime" "$stage/usr/local/bin"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$stage/var/runtime" \
    --python-version "$python" --only-binary :all: awslambdaric > "$home/pip.log" 2>&1
  .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest "$home" aws-sam-cli >> "$home/pip.log" 2>&1
  python3 - "$home"/aws_sam_cli-*.whl "$stage/usr/local/bin/aws-lambda-rie" <<'PYTHON'
import os, platform, sys, zipfile
machine = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
with open(sys.argv[2], "wb") as out:
    out.write(zipfile.ZipFile(sys.argv[1]).read(f"samcli/local/rapid/aws-lambda-rie-{machine}"))
os.chmod(sys.argv[2], 0o755)
PYTHON
  cat > "$stage/lambda-entrypoint.sh" <<'SCRIPT'
#!/bin/sh
# As in AWS's image: the runtime alone under Lambda, behind the Runtime Interface Emulator elsewhere.
[ -n "$AWS_LAMBDA_RUNTIME_API" ] || set -- /usr/local/bin/aws-lambda-rie /usr/bin/python3 -m awslambdaric "$@"
[ -n "$AWS_LAMBDA_RUNTIME_API" ] && set -- /usr/bin/python3 -m awslambdaric "$@"
exec "$@"
SCRIPT
  chmod 755 "$stage/lambda-entrypoint.sh"
  mmdebstrap --mode=root --variant=essential --include=python3,libstdc++6 \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --customize-hook="cp -r '$stage/.' \"\$1/\"" \
    "$suite" "$home/new.tar" > "$home/mmdebstrap.log" 2>&1
  mv "$home/new.tar" "$base"
fi

# A bridge of its own: on one that engines share, their containers get the same addresses, and those of an engine that was killed
# keep theirs, so that some containers are not reached.
bridge=engine$$
while network=10.$((RANDOM % 256)).$((RANDOM % 256)); ip route | grep -q "^$network\."; do :; done
ip link add "$bridge" type bridge
ip address add "$network.1/24" dev "$bridge"
ip link set "$bridge" up

socket=$(mktemp -d)/docker.sock
# A privileged container gets every capability; where root lacks one, as in some virtual machines, it gets the others.
runtime=()
if ! (( 0x$(awk '/^CapBnd/ { print $2 }' /proc/self/status) >> 24 & 1 )); then
  cat > "${socket%/*}/runtime" <<'SCRIPT'
#!/bin/sh
before= file=
for word; do
  case "$before" in --bundle) file=$word/config.json ;; --process) file=$word ;; esac
  before=$word
done
[ -z "$file" ] || sed -i 's/,"CAP_SYS_RESOURCE"//g; s/"CAP_SYS_RESOURCE",//g' "$file"
exec runc "$@"
SCRIPT
  chmod 755 "${socket%/*}/runtime"
  runtime=(--add-runtime "capable=${socket%/*}/runtime" --default-runtime capable)
fi
dockerd "${runtime[@]}" --bridge "$bridge" --data-root "$home/data" --exec-root "${socket%/*}/exec" \
  --pidfile "${socket%/*}/pid" -H "unix://$socket" --iptables=false --ip6tables=false --storage-driver overlay2 > "$home/dockerd.log" 2>&1 &
engine=$!
trap 'kill "$engine" || true; wait "$engine" || true; umount "${socket%/*}"/exec/netns/* 2> /dev/null || true; rm -rf "${socket%/*}" || true; ip link delete "$bridge" || true' EXIT
export DOCKER_HOST=unix://$socket
for _ in $(seq 100); do docker version > /dev/null 2>&1 && break; sleep 0.2; done

image=public.ecr.aws/lambda/python:$python
if [ -z "$(docker images --quiet "$image")" ]; then
  docker import --change 'ENTRYPOINT ["/lambda-entrypoint.sh"]' --change 'WORKDIR /var/task' \
    --change 'ENV LAMBDA_TASK_ROOT=/var/task PYTHONPATH=/var/runtime PATH=/usr/local/bin:/usr/bin:/bin' \
    "$base" "$image" > /dev/null
fi
slim=public.ecr.aws/docker/library/python:$python-slim
if [ -z "$(docker images --quiet "$slim")" ]; then
  docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' "$base" "$slim" > /dev/null
fi
# Python's own image has OpenMP, which its slim one lacks.
whole=public.ecr.aws/docker/library/python:$python
if [ -z "$(docker images --quiet "$whole")" ]; then
  compgen -G "$home/libgomp1_*.deb" > /dev/null || (cd "$home" && { apt-get download libgomp1 || { apt-get update && apt-get download libgomp1; }; }) >> "$home/apt.log" 2>&1
  made=$(docker create "$slim" python3)
  dpkg-deb --fsys-tarfile "$home"/libgomp1_*.deb | docker cp - "$made:/"
  docker commit "$made" "$whole" > /dev/null
  docker rm "$made" > /dev/null
fi
# What earlier runs built; the base stays.
docker images --quiet --filter label=org.opencontainers.image.title | sort -u | xargs --no-run-if-empty docker rmi --force > /dev/null 2>&1 || true
"$@"
