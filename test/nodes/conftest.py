"""Fixtures of the node tests: a graph of the test's own, or one that consecutive tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from isolation import isolated_domain
from nodes.graph import Graph

from vla_ros.testing.graph_client import GraphClient

FOLDER = Path(__file__).parent


@pytest.fixture
def client(ros_domain: int) -> Iterator[GraphClient]:
    """A client in the test's own domain, for tests that start their own nodes with `processes`."""
    made = GraphClient(ros_domain)
    yield made
    made.close()


@pytest.fixture
def own_graph(ros_domain: int, tmp_path: Path) -> Iterator[Graph]:
    """The standard graph, armed, for this test only."""
    graph = Graph(ros_domain, tmp_path)
    try:
        graph.start()
        yield graph
    finally:
        graph.stop()


class _Shared:
    """The standard graph of consecutive tests that use the fixture `graph`."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._graph: Graph | None = None

    def get(self, folder: Path) -> Graph:
        """The running graph; started in `folder` if there is none."""
        if self._graph is None:
            domain = self._stack.enter_context(isolated_domain())
            self._graph = Graph(domain, folder)
            self._stack.callback(self._graph.stop)
        return self._graph

    def stop(self) -> None:
        """End the graph, if there is one."""
        self._graph = None
        self._stack.close()


_SHARED = _Shared()


@pytest.fixture
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The shared graph: all nodes running, armed, at rest. A test may kill nodes; counters are not reset."""
    shared = _SHARED.get(tmp_path_factory.mktemp("shared"))
    shared.reset()
    return shared


def _shares(item: pytest.Item | None) -> bool:
    return "graph" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that share the graph one after another, before the other node tests."""
    indices = [k for k, item in enumerate(items) if item.path.parent == FOLDER]
    ordered = sorted((items[k] for k in indices), key=lambda item: not _shares(item))
    for k, item in zip(indices, ordered, strict=True):
        items[k] = item


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the shared graph before a test that does not use it."""
    if not _shares(nextitem):
        _SHARED.stop()
