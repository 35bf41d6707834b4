"""Which cases of long tests run: some of each by the seed, or all where one asks for them.

`@pytest.mark.sampled(2)`, on a test or a module: of the cases of each test function two run, chosen by the
variable TESP_TESTS_SEED and the test's name. With TESP_TESTS=whole all run (`make test-whole`).
"""

import hashlib
import os
from collections import defaultdict

import pytest


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take away the cases that do not run."""
    if os.environ.get("TESP_TESTS") == "whole":
        return
    seed = os.environ.get("TESP_TESTS_SEED", "0")
    groups = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if item.get_closest_marker("sampled"):
            groups[item.nodeid.partition("[")[0]].append(item)
    left_out = set[pytest.Item]()
    for group in groups.values():
        marker = group[0].get_closest_marker("sampled")
        assert marker is not None
        group.sort(key=lambda item: hashlib.sha256(f"{seed} {item.nodeid}".encode()).digest())
        left_out.update(group[marker.args[0] :])
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
