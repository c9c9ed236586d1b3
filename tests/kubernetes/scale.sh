#!/usr/bin/env bash
# Thousands of agents against the real API server, without a node: their pods stay Pending. Prints
# what the runner asks, takes and costs; design/scale.md has the figures.
#
#   tests/kubernetes/scale.sh [AGENTS [QPS]]        5000 agents, 1000 requests a second
#
# It needs the kit (K8S_KIT, see run), the interop suite's environment (tests/interop/setup.sh) and a
# release build, or RUNNER_BIN.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
target=$(cd "${CARGO_TARGET_DIR:-$repository/target}" && pwd)
kit=$(cd "${K8S_KIT:-$repository/../shared/k8s}" && pwd)
export K8S_DIR=${K8S_DIR:-$HOME/.cache/k8s-kit}
export RUNNER_BIN=${RUNNER_BIN:-$target/release/runner}
export K8S_AUDIT_LOG=$target/kubernetes/scale-audit.log
export PYTHONPATH=$here/../interop:$target/kubernetes/packages CARGO_TARGET_DIR=$target

"$here/setup.sh"
"$kit/down.sh" "$K8S_DIR" --wipe
trap '"$kit/down.sh" "$K8S_DIR" --wipe' EXIT
rm -f "$K8S_AUDIT_LOG"
# Every request, by whom, and nothing of what was in it.
policy=$target/kubernetes/scale-policy.yaml
cat >"$policy" <<'POLICY'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{ level: Metadata }]
POLICY
EXTRA_KUBE_APISERVER="--audit-policy-file=$policy --audit-log-path=$K8S_AUDIT_LOG --max-requests-inflight=4000 --max-mutating-requests-inflight=2000" \
    "$kit/up.sh" "$K8S_DIR" --no-kubelet
export KUBECONFIG=$K8S_DIR/kubeconfig
"$target/interop-venv/bin/python" "$here/scale.py" "$@"
