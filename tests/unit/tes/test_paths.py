import pytest

from tesp_api.tes import paths


@pytest.mark.parametrize(
    ("path", "normal"),
    [("/a/b/", "/a/b"), ("//a//b", "/a/b"), ("/a/./b", "/a/b"), ("/", "/"), ("//", "/")],
)
def test_normal_paths(path: str, normal: str) -> None:
    assert paths.normal_path(path) == normal


def test_ancestors_come_nearest_first() -> None:
    assert list(paths.ancestors("/a/b/c")) == ["/a/b", "/a"]
    assert list(paths.ancestors("/a")) == []


@pytest.mark.parametrize(
    ("pattern", "directory"),
    [
        ("/out/*.txt", "/out"),
        ("/out/run?/x/*", "/out"),
        ("/out/[ab]/x", "/out"),
        ("/*", "/"),
        ("//out//*", "/out"),
    ],
)
def test_the_directory_before_the_first_wildcard(pattern: str, directory: str) -> None:
    assert paths.fixed_directory(pattern) == directory


@pytest.mark.parametrize("path", ["/a", "/a/", "/a b/ü", "/a..b", "/processes/x", "/a:b,c"])
def test_places_that_are_fine(path: str) -> None:
    assert paths.place_fault(path) is None


@pytest.mark.parametrize(
    "path",
    ["", "a", "-v", "./a", "/a/../b", "/..", "/", "//", "/./", "/proc", "/proc/1/mem", "/sys/x"],
)
def test_places_that_are_refused(path: str) -> None:
    assert paths.place_fault(path)


@pytest.mark.parametrize("path", ["/dev/null", "//dev//x", "/a\0b", "/a\nb", "/" + "a" * 256, "/a" * 2050])
def test_places_that_no_file_can_have(path: str) -> None:
    assert paths.place_fault(path)


def test_a_stream_may_be_the_null_device_but_no_other() -> None:
    assert paths.stream_fault("/dev/null") is None
    assert paths.stream_fault("/dev/stdout")
