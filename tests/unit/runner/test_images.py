"""Which images a destination takes."""

import pytest

from tesp_api.runner.images import is_allowed


@pytest.mark.parametrize(
    ("image", "patterns", "expected"),
    [
        ("anything", [], True),
        ("alpine", ["alpine"], True),
        ("alpine", ["docker.io/library/alpine:latest"], True),
        ("docker.io/library/alpine:3", ["docker.io/library/*"], True),
        ("alpine:3.20", ["alpine:*"], True),
        ("alpine", ["alpine:*"], False),
        ("evil/alpine", ["docker.io/library/**"], False),
        ("evil/alpine", ["docker.io/evil/*"], True),
        ("quay.io/biocontainers/bwa:0.7", ["quay.io/biocontainers/*"], True),
        ("quay.io/biocontainers/a/b", ["quay.io/biocontainers/*"], False),
        ("quay.io/biocontainers/a/b", ["quay.io/biocontainers/**"], True),
        ("quay.io.evil.org/biocontainers/bwa", ["quay.io/biocontainers/*"], False),
        ("evil/quay.io/biocontainers/bwa", ["quay.io/biocontainers/*"], False),
        ("localhost:5000/x", ["localhost:5000/*"], True),
        ("localhost:5000/x@sha256:00", ["localhost:5000/x@sha256:*"], True),
        ("docker://alpine", ["alpine:latest"], False),
        ("docker://alpine", ["docker.io/library/alpine:*"], True),
        ("/images/x.sif", ["/images/*"], True),
        ("/images/../x.sif", ["/images/*"], False),
        ("/images/..", ["/images/**"], False),
        ("/images/a/../../etc/x", ["/images/**"], False),
        ("library://a/b", ["docker.io/**"], False),
        ("alpine\nx", ["alpine"], False),
        ("a.pine", ["a+pine", "[a]*"], False),
    ],
)
def test_patterns(image: str, patterns: list[str], expected: bool) -> None:
    assert is_allowed(image, patterns) is expected
