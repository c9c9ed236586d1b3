#!/usr/bin/env bash
# Makes what the interop suite needs under target/: a virtual environment with the pinned
# packages of requirements.txt (uv among them), the generated gRPC stubs, and the environment
# that `uv run` uses for the agents' project. Cheap when all of it is there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
export CARGO_TARGET_DIR=$target
venv=$target/interop-venv
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "setup.sh: $python is older than 3.11: set PYTHON to a newer one" >&2
    exit 1
fi

wanted=$(sha256sum <"$here/requirements.txt")
if [ "$(cat "$venv/requirements.sha256" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv" "$target/interop"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement "$here/requirements.txt"
    echo "$wanted" >"$venv/requirements.sha256"
fi

PYTHONPATH=$here "$venv/bin/python" -B "$here/stubs.py"

# The project has no dependencies: its environment is made without a network, and from the
# Python that is here.
cd "$here/project"
UV_PROJECT_ENVIRONMENT=$target/interop/agents-venv \
    UV_CACHE_DIR=$target/interop/uv-cache \
    UV_PYTHON=$venv/bin/python UV_PYTHON_DOWNLOADS=never UV_OFFLINE=1 \
    "$venv/bin/uv" sync --locked --quiet

# Agents inherit no PYTHONPATH: grpcio of the suite's own environment, which is of the same Python,
# and the stubs are named to both environments, and where compiled files go.
for environment in "$venv" "$target/interop/agents-venv"; do
    for site_packages in "$environment"/lib/python3*/site-packages; do
        printf '%s\n' "$target/interop/stubs" "$venv"/lib/python3*/site-packages \
            "import sys; sys.pycache_prefix = '$target/interop/pycache'" \
            >"$site_packages/interop.pth"
    done
done

# Programs of Debian's packages. They are unpacked and not installed, so that nothing of them is
# started on this machine; where they cannot be had, their tests say so.
debian=$target/interop/debian
unpack() {
    local package=$1 program=$2 away
    if command -v "$program" >/dev/null || [ -x "$debian/usr/bin/$program" ]; then return; fi
    away=$(mktemp -d)
    if (cd "$away" && { apt-get download "$package" || { apt-get update && apt-get download "$package"; }; } &&
        dpkg-deb -x ./*.deb "$debian") >"$away/said" 2>&1; then
        echo "unpacked $package"
    else
        echo "NOT TESTED: what needs $program, as Debian's $package cannot be had:" >&2
        tail -n 3 "$away/said" >&2
    fi
    rm -rf "$away"
}
unpack prometheus prometheus

# These need libraries, and units, of their packages where they belong: installed, and not started,
# as there is no systemd to start them here.
install() {
    local package=$1 program=$2 said=$target/interop/$1.said
    if command -v "$program" >/dev/null; then return; fi
    if { apt-get install -y --no-install-recommends "$package" || {
        apt-get update && apt-get install -y --no-install-recommends "$package"
    }; } >"$said" 2>&1; then
        echo "installed $package"
    else
        echo "NOT TESTED: what needs $program, as Debian's $package cannot be had:" >&2
        tail -n 3 "$said" >&2
    fi
}
install systemd systemd-analyze
install tmux tmux
install iproute2 ip
