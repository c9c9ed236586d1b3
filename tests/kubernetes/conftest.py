"""What all tests of the suite stand on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

import images
import stubs
from audit import Audit
from cluster import Cluster, Namespace
from images import Image
from kit import Kit
from lacks import lacks
from paths import RUNNER_BIN

# Modules whose tests need no cluster.
UNIT = {"test_audit"}


def pytest_sessionstart(session: pytest.Session) -> None:
    stubs.build()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if all(item.path.stem in UNIT for item in items):
        return
    # A skip would look like a pass.
    if not os.environ.get("KUBECONFIG"):
        raise pytest.UsageError("no cluster: use tests/kubernetes/run, or set KUBECONFIG")
    if not RUNNER_BIN.is_file():
        raise pytest.UsageError("no runner: `cargo build`, or set RUNNER_BIN")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not os.environ.get("KUBECONFIG"):
        return
    terminalreporter.section("what this cluster cannot show")
    try:
        lines = list(lacks(Cluster(), Kit.of_environment()))
    except (ApiException, HTTPError, OSError) as error:
        # What came of the tests is to be seen all the same.
        lines = [f"what it offers, as it does not answer: {error}"]
    for line in lines:
        terminalreporter.write_line(f"NOT TESTED: {line}", yellow=True)


@pytest.fixture(scope="session")
def kit() -> Kit | None:
    return Kit.of_environment()


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.wait_answering()
    return cluster


@pytest.fixture
def namespace(cluster: Cluster, kit: Kit | None) -> Iterator[Namespace]:
    """A namespace of the test's own. What the test did to the cluster's components is made good."""
    with cluster.namespace() as namespace:
        try:
            yield namespace
        finally:
            if kit is not None:
                kit.restore(cluster.wait_answering)


@pytest.fixture
def components(kit: Kit | None, cluster: Cluster) -> Iterator[Kit]:
    """The kit, for its components to be disturbed; all of them run again afterwards."""
    if kit is None:
        pytest.skip("NOT TESTED: the components of a cluster that is not the kit's")
    yield kit
    kit.restore(cluster.wait_answering)


@pytest.fixture(scope="session")
def audit() -> Audit:
    return Audit.of_environment()


@pytest.fixture(scope="session")
def runner_image(kit: Kit | None) -> Image:
    """`runner`, at /bin/runner."""
    return loaded(kit, images.runner())


@pytest.fixture(scope="session")
def agents_image(kit: Kit | None) -> Image:
    """Python with the agents of tests/interop/project: /bin/python -m agents.random_agent."""
    return loaded(kit, images.agents())


def loaded(kit: Kit | None, image: Image) -> Image:
    """On another cluster than the kit's, whoever made that has loaded the file."""
    if kit is not None:
        kit.load(image.file)
    return image
