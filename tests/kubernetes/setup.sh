#!/usr/bin/env bash
# Makes what the Kubernetes suite needs under target/, beside what the interop suite does: the
# official Python client. Cheap when it is there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

"$here/../interop/setup.sh"
target=$(cd "${CARGO_TARGET_DIR:-$here/../../target}" && pwd)
export CARGO_TARGET_DIR=$target
build=$target/kubernetes
python=$target/interop-venv/bin/python

# Beside the interop suite's environment, whose packages are pinned for itself.
wanted=$(sha256sum <"$here/requirements.txt")
if [ "$(cat "$build/packages/requirements.sha256" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$build/packages"
    "$python" -m pip install --quiet --disable-pip-version-check \
        --target "$build/packages" --requirement "$here/requirements.txt"
    echo "$wanted" >"$build/packages/requirements.sha256"
fi
