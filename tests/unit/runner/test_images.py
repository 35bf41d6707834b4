"""Which images a destination takes."""

import pytest

from tesp_api.runner.images import is_allowed, is_ordinary


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


ORDINARY = [
    *("alpine", "alpine:3", "ubuntu:22.04", "Alpine", "biocontainers/bwa:v0.7.17_cv1", "a.b-c__d/e"),
    *(
        "quay.io/biocontainers/samtools:1.17--h00cdaf9_0",
        "registry:5000/x",
        "[2001:db8::1]:5000/x",
        "my-host/a/b",
    ),
    *("alpine@sha256:" + "0f" * 32, "reg:5000/a:1@sha256:00", "sha256:" + "0f" * 32, "docker://alpine:3"),
    *("oras://ghcr.io/org/image:1", "library://sylabs/examples/lolcow:latest", "10.1.2.3:5000/x"),
]
FROM_ELSEWHERE = [
    *("/", "/etc", "/images/x.sif", "./x.sif", "../x", "~/x.sif", "//host/x", ".", "..", "a/../b", "a//b"),
    *("file:///etc", "http://169.254.169.254/x", "https://evil.org/x.sif", "ftp://x/y", "shub://a/b"),
    *("dir:/etc", "dir:..", "docker-archive:/data/x.tar", "oci:/x", "oci-archive:///x", "docker-daemon:a:b"),
    *(
        "docker:///etc",
        "docker://../x",
        "docker://http://x",
        "containers-storage:[overlay@/x]y",
        "x:",
        "x@",
        "",
    ),
    *("oras:///x", "library://../x", "alpine:3:4", "x\n", "ü", "a b", "$(id)", "`id`", "a;b", "a|b", "-v"),
]
AT_LOCAL_ADDRESSES = [
    *("localhost:5000/x", "localhost/x", "127.0.0.1:5000/x", "127.1:80/x", "[::1]:5000/x", "0.0.0.0:1/x"),
    "LOCALHOST/x",
    *("169.254.169.254/latest:x", "docker://169.254.169.254/x", "oras://127.0.0.1:5000/x"),
    *("metadata.google.internal/x", "[::ffff:127.0.0.1]:5000/x", "0x7f000001.:5000/x"),
]


@pytest.mark.parametrize("image", ORDINARY)
def test_names_of_registries_need_no_pattern(image: str) -> None:
    assert is_ordinary(image)


@pytest.mark.parametrize("image", FROM_ELSEWHERE)
def test_files_of_the_site_and_other_urls_are_taken_only_by_name(image: str) -> None:
    assert not is_ordinary(image, ["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize("image", AT_LOCAL_ADDRESSES)
def test_registries_at_local_addresses_are_taken_only_where_transfers_may_go_there(image: str) -> None:
    assert not is_ordinary(image)
    assert is_ordinary(image, ["0.0.0.0/0", "::/0"])
