#!/usr/bin/env bash
# Makes what the Kubernetes suite needs under target/, beside what the interop suite does: the
# official Python client, the static `runner`, and the images. Cheap when all of it is there.
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

# Static, as an image of it has nothing else in it; and barely optimized, as it has little to do.
# A target directory of its own: other flags would have cargo build everything again, both ways.
if [ -z "${RUNNER_BIN:-}" ]; then
    (
        cd "$here/../.."
        RUSTFLAGS='-C target-feature=+crt-static' CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
            CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_STRIP=symbols \
            cargo build --locked --release --bin runner --target x86_64-unknown-linux-gnu \
            --target-dir "$build/static"
    )
fi
