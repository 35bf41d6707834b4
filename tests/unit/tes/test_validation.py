"""What is refused, with which field named; what real clients send and must be taken."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesp_api.errors import InvalidRequest
from tesp_api.tes.validation import NewTask, read_task, validate_task

EXECUTOR = {"image": "alpine", "command": ["true"]}
URL = "http://host/file"


def task(**parts: Any) -> dict[str, Any]:
    return {"executors": [EXECUTOR]} | parts


def executor(**parts: Any) -> dict[str, Any]:
    return {"executors": [EXECUTOR | parts]}


def faults_of(document: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        validate_task(document)
    return {fault.field: fault.message for fault in caught.value.faults}


BAD_INPUT: list[tuple[str, Any, str]] = [
    ("no executors", {}, "executors"),
    ("null executors", {"executors": None}, "executors"),
    ("empty executors", {"executors": []}, "executors"),
    ("executors of a wrong type", {"executors": {}}, "executors"),
    ("an executor of a wrong type", {"executors": ["alpine"]}, "executors[0]"),
    ("no image", {"executors": [{"command": ["a"]}]}, "executors[0].image"),
    ("empty image", executor(image=""), "executors[0].image"),
    ("image with a dash", executor(image="--privileged"), "executors[0].image"),
    ("image with a command", executor(image="u true; touch /tmp/x"), "executors[0].image"),
    ("image with NUL", executor(image="a\0b"), "executors[0].image"),
    ("no command", {"executors": [{"image": "a"}]}, "executors[0].command"),
    ("empty command", executor(command=[]), "executors[0].command"),
    ("command without program", executor(command=[""]), "executors[0].command"),
    ("command as a string", executor(command="ls -l"), "executors[0].command"),
    ("number in the command", executor(command=["a", 1]), "executors[0].command[1]"),
    ("null in the command", executor(command=["a", None]), "executors[0].command[1]"),
    ("NUL in the command", executor(command=["a", "\0"]), "executors[0].command[1]"),
    ("argument beyond Linux's limit", executor(command=["a", "x" * 131072]), "executors[0].command[1]"),
    ("relative workdir", executor(workdir="data"), "executors[0].workdir"),
    ("relative stdin", executor(stdin="in"), "executors[0].stdin"),
    ("relative stdout", executor(stdout="out"), "executors[0].stdout"),
    ("stderr upwards", executor(stderr="/a/../../etc/x"), "executors[0].stderr"),
    ("stdout to a device", executor(stdout="/dev/sda"), "executors[0].stdout"),
    ("env name with =", executor(env={"A=B": "c"}), "executors[0].env"),
    ("empty env name", executor(env={"": "c"}), "executors[0].env"),
    ("env name with newline", executor(env={"A\nB": "c"}), "executors[0].env"),
    ("env with NUL", executor(env={"A": "\0"}), "executors[0].env"),
    ("env with a number", executor(env={"A": 1}), "executors[0].env"),
    ("env as a list", executor(env=["A=1"]), "executors[0].env"),
    ("ignore_error as text", executor(ignore_error="yes"), "executors[0].ignore_error"),
    ("relative input", task(inputs=[{"path": "a", "url": URL}]), "inputs[0].path"),
    ("input path with a dash", task(inputs=[{"path": "-v", "url": URL}]), "inputs[0].path"),
    ("input at /", task(inputs=[{"path": "/", "url": URL}]), "inputs[0].path"),
    ("input in /proc", task(inputs=[{"path": "/proc/x", "url": URL}]), "inputs[0].path"),
    ("input without source", task(inputs=[{"path": "/a"}]), "inputs[0]"),
    ("input with an empty url", task(inputs=[{"path": "/a", "url": ""}]), "inputs[0]"),
    ("unsupported scheme", task(inputs=[{"path": "/a", "url": "s3://b/k"}]), "inputs[0].url"),
    ("relative url", task(inputs=[{"path": "/a", "url": "b/k"}]), "inputs[0].url"),
    ("url without host", task(inputs=[{"path": "/a", "url": "http:///k"}]), "inputs[0].url"),
    ("file on another host", task(inputs=[{"path": "/a", "url": "file://h/k"}]), "inputs[0].url"),
    ("url of a wrong type", task(inputs=[{"path": "/a", "url": 3}]), "inputs[0].url"),
    (
        "content of a directory",
        task(inputs=[{"path": "/a", "content": "x", "type": "DIRECTORY"}]),
        "inputs[0].content",
    ),
    (
        "directory without url",
        task(inputs=[{"path": "/a", "content": "", "type": "DIRECTORY"}]),
        "inputs[0].url",
    ),
    ("unknown type", task(inputs=[{"path": "/a", "url": URL, "type": "LINK"}]), "inputs[0].type"),
    ("two inputs at one path", task(inputs=[{"path": "/a", "url": URL}] * 2), "inputs[1].path"),
    (
        "two inputs at one path, written differently",
        task(inputs=[{"path": "/a/b", "url": URL}, {"path": "//a/./b/", "url": URL}]),
        "inputs[1].path",
    ),
    (
        "a file above an input",
        task(inputs=[{"path": "/a/b/c", "url": URL}, {"path": "/a", "url": URL}]),
        "inputs[0].path",
    ),
    (
        "a file above an output",
        task(inputs=[{"path": "/a", "url": URL}], outputs=[{"path": "/a/b", "url": URL}]),
        "outputs[0].path",
    ),
    (
        "a file above a pattern",
        task(
            inputs=[{"path": "/a", "url": URL}],
            outputs=[{"path": "/a/b/*", "url": URL, "path_prefix": "/a/b"}],
        ),
        "outputs[0].path",
    ),
    ("a file above a volume", task(inputs=[{"path": "/a", "url": URL}], volumes=["/a/b"]), "volumes[0]"),
    ("an input at a volume", task(inputs=[{"path": "/a", "url": URL}], volumes=["/a/"]), "volumes[0]"),
    (
        "a file above the workdir",
        executor(workdir="/a/b") | {"inputs": [{"path": "/a", "url": URL}]},
        "executors[0].workdir",
    ),
    ("output without url", task(outputs=[{"path": "/a"}]), "outputs[0].url"),
    ("output with an empty url", task(outputs=[{"path": "/a", "url": ""}]), "outputs[0].url"),
    ("output with null path", task(outputs=[{"path": None, "url": URL}]), "outputs[0].path"),
    (
        "two files to one url",
        task(outputs=[{"path": "/a", "url": URL}, {"path": "/b", "url": URL, "type": "FILE"}]),
        "outputs[1].url",
    ),
    ("output to gopher", task(outputs=[{"path": "/a", "url": "gopher://h/a"}]), "outputs[0].url"),
    ("ftp with a query", task(outputs=[{"path": "/a", "url": "ftp://h/a?b"}]), "outputs[0].url"),
    ("pattern without prefix", task(outputs=[{"path": "/a/*", "url": URL}]), "outputs[0].path_prefix"),
    (
        "prefix of another directory",
        task(outputs=[{"path": "/a/*", "url": URL, "path_prefix": "/b"}]),
        "outputs[0].path_prefix",
    ),
    (
        "prefix that ends inside a name",
        task(outputs=[{"path": "/abc/*", "url": URL, "path_prefix": "/ab"}]),
        "outputs[0].path_prefix",
    ),
    (
        "relative prefix",
        task(outputs=[{"path": "/a/*", "url": URL, "path_prefix": "a"}]),
        "outputs[0].path_prefix",
    ),
    ("volume at /", task(volumes=["/"]), "volumes[0]"),
    ("relative volume", task(volumes=["/ok", "vol"]), "volumes[1]"),
    ("null volume", task(volumes=[None]), "volumes[0]"),
    ("volume twice", task(volumes=["/v", "/v/"]), "volumes[1]"),
    ("negative cores", task(resources={"cpu_cores": -1}), "resources.cpu_cores"),
    ("part of a core", task(resources={"cpu_cores": 1.5}), "resources.cpu_cores"),
    ("too many cores", task(resources={"cpu_cores": 2**31}), "resources.cpu_cores"),
    ("cores as text", task(resources={"cpu_cores": "2"}), "resources.cpu_cores"),
    ("cores as a truth value", task(resources={"cpu_cores": True}), "resources.cpu_cores"),
    ("negative ram", task(resources={"ram_gb": -0.5}), "resources.ram_gb"),
    ("endless ram", task(resources={"ram_gb": float("inf")}), "resources.ram_gb"),
    ("ram that is no number", task(resources={"ram_gb": float("nan")}), "resources.ram_gb"),
    ("a huge disk", task(resources={"disk_gb": 10**400}), "resources.disk_gb"),
    ("zones as text", task(resources={"zones": "us-west-1"}), "resources.zones"),
    (
        "unknown parameter when strict",
        task(resources={"backend_parameters": {"VmSize": "x"}, "backend_parameters_strict": True}),
        "resources.backend_parameters.VmSize",
    ),
    ("tags as a list", task(tags=["a"]), "tags"),
    ("tag that is a number", task(tags={"a": 1}), "tags"),
    ("tag with NUL in its key", task(tags={"a\0": "b"}), "tags"),
    ("name of a wrong type", task(name=["a"]), "name"),
    ("name with NUL", task(name="a\0"), "name"),
    ("description of a wrong type", task(description=1), "description"),
    ("too many executors", {"executors": [EXECUTOR] * 1001}, "executors"),
    ("not an object", [task()], "body"),
    ("null", None, "body"),
]


@pytest.mark.parametrize(("document", "field"), [pytest.param(*case[1:], id=case[0]) for case in BAD_INPUT])
def test_bad_input_is_refused_by_field(document: Any, field: str) -> None:
    assert list(faults_of(document)) == [field]


def test_all_faults_are_named_at_once_whatever_their_kind() -> None:
    document = {
        "name": 7,
        "executors": [{"image": "-x", "command": ["a"]}, {"command": []}],
        "inputs": [{"path": "rel", "content": "x"}, {"path": "/a"}, {"path": "/a/b", "url": "s3://b/k"}],
        "volumes": ["/", "/a"],
        "resources": {"cpu_cores": -1},
    }
    assert set(faults_of(document)) == {
        "name",
        "executors[0].image",
        "executors[1].image",
        "executors[1].command",
        "inputs[0].path",
        "inputs[1]",
        "inputs[2].path",
        "inputs[2].url",
        "volumes[0]",
        "volumes[1]",
        "resources.cpu_cores",
    }


def test_all_variables_that_are_wrong_are_named() -> None:
    env = {"A=B": "c", "GOOD": "x", "LONG": "x" * 200_000, "": "y", "LONGER": "x" * 300_000}
    said = faults_of(executor(env=env))["executors[0].env"]
    assert "not the names of environment variables: 'A=B', ''" in said
    assert "'LONG', 'LONGER'" in said
    assert "GOOD" not in said and "xxx" not in said


def test_thousands_of_faults_are_cut_short() -> None:
    faults = faults_of({"inputs": [{"path": "a"}] * 9999})
    assert len(faults) == 101
    assert faults["body"] == "has 19899 more faults"


def test_an_unsupported_scheme_names_the_supported_ones() -> None:
    message = faults_of(task(inputs=[{"path": "/a", "url": "sftp://b/k"}]))["inputs[0].url"]
    for name in ("http://", "https://", "s3://", "file://", "absolute paths"):
        assert name in message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"executors": NaN}',
        b'{"name": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 5000,
        b'{"resources": {"cpu_cores": ' + b"9" * 5000 + b"}}",
        b"executors=1",
        b"null",
    ],
)
def test_a_body_that_is_no_task_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_task(body)
    assert [fault.field for fault in caught.value.faults] == ["body"]


def test_only_what_was_sent_is_stored_plus_the_types() -> None:
    sent = task(inputs=[{"path": "/a/", "url": URL}], outputs=[{"path": "/b", "url": "/b"}], tags={})
    stored = validate_task(sent).document
    assert stored == task(
        inputs=[{"path": "/a/", "url": URL, "type": "FILE"}],
        outputs=[{"path": "/b", "url": "/b", "type": "FILE"}],
        tags={},
    )


def test_unknown_and_read_only_fields_are_ignored_whatever_they_hold() -> None:
    extra = {"id": 3, "state": ["x"], "logs": "none", "creation_time": {}, "project": "p", "x\0": "\0"}
    assert validate_task(task(**extra)).document == task()


def test_galaxy_sends_nulls_for_whatever_is_not_set() -> None:
    # Source: galaxy, lib/galaxy/jobs/runners/pulsar.py and pydantic-tes, whose models dump None.
    nothing = dict.fromkeys(["workdir", "stdin", "stdout", "stderr", "env", "ignore_error"])
    sent = {
        "executors": [EXECUTOR | nothing],
        "inputs": [{"path": "/a", "content": "x", "url": None, "type": None, "name": None}],
        "outputs": None,
        "resources": {"cpu_cores": None, "ram_gb": None, "zones": None, "backend_parameters": None},
        "volumes": ["/pulsar_staging/"],
        "tags": None,
        "logs": None,
    }
    assert validate_task(sent).document == {
        "executors": [EXECUTOR],
        "inputs": [{"path": "/a", "content": "x", "type": "FILE"}],
        "resources": {},
        "volumes": ["/pulsar_staging/"],
    }


def test_cromwell_sends_null_tag_values() -> None:
    assert validate_task(task(tags={"workflow_id": "w", "root": None})).document["tags"] == {
        "workflow_id": "w",
        "root": "",
    }


def test_nextflow_sends_bare_paths_and_fractional_sizes() -> None:
    sent = task(
        inputs=[{"path": "/work/a", "url": "/data/a"}],
        resources={"cpu_cores": 2.0, "ram_gb": 0.25, "disk_gb": 1.5},
    )
    stored = validate_task(sent).document
    assert stored["inputs"][0]["url"] == "/data/a"
    assert stored["resources"] == {"cpu_cores": 2, "ram_gb": 0.25, "disk_gb": 1.5}
    assert isinstance(stored["resources"]["cpu_cores"], int)


def test_toil_sends_its_job_store_as_a_directory_with_an_encoded_file_url() -> None:
    item = {"path": "/jobStore/", "url": "file:///data/job%20store", "type": "DIRECTORY"}
    assert validate_task(task(inputs=[item])).document["inputs"] == [item]


def test_outputs_may_overlap_and_a_file_be_named_twice() -> None:
    validate_task(
        task(
            outputs=[
                {"path": "/a", "url": "s3://lab/a/", "type": "DIRECTORY"},
                {"path": "/a/b", "url": "s3://lab/a/b"},
                {"path": "/a/./b", "url": "s3://lab/a/b", "type": "FILE"},
                {"path": "/a/*.x", "url": "s3://lab/c", "path_prefix": "/a"},
                {"path": "/a/*.y", "url": "s3://lab/c", "path_prefix": "/a"},
            ]
        )
    )


def test_cwl_sends_overlapping_outputs_and_inputs_inside_volumes() -> None:
    sent = task(
        inputs=[{"path": "/v/in", "content": "x" * 200_000, "type": "FILE"}],
        volumes=["/v"],
        outputs=[
            {"path": "/out", "url": "/o", "type": "DIRECTORY"},
            {"path": "/out/log", "url": "/l", "type": "FILE"},
            {"path": "/v/in", "url": "/i", "type": "FILE"},
        ],
    )
    assert validate_task(sent).document == sent


def test_protobuf_clients_send_zero_resources_and_empty_content() -> None:
    resources = {"cpu_cores": 0, "ram_gb": 0, "disk_gb": 0}
    stored = validate_task(
        task(inputs=[{"path": "/a", "url": URL, "content": "", "type": "FILE"}], resources=resources)
    ).document
    assert stored["inputs"] == [{"path": "/a", "url": URL, "type": "FILE"}]
    assert stored["resources"] == resources


def test_an_empty_content_alone_is_an_empty_file() -> None:
    assert validate_task(task(inputs=[{"path": "/a", "content": ""}])).document["inputs"][0]["content"] == ""


def test_a_url_beside_content_is_ignored() -> None:
    validate_task(task(inputs=[{"path": "/a", "content": "x", "url": "s3://whatever"}]))


def test_a_path_prefix_without_wildcards_is_ignored() -> None:
    validate_task(task(outputs=[{"path": "/a", "url": URL, "path_prefix": "elsewhere"}]))


@pytest.mark.parametrize("prefix", ["/", "/a", "/a/b", "/a/b/"])
def test_a_path_prefix_may_be_any_directory_above(prefix: str) -> None:
    validate_task(task(outputs=[{"path": "/a/b/*/c", "url": URL, "path_prefix": prefix}]))


def test_unknown_backend_parameters_are_left_out_with_a_warning() -> None:
    sent = {"cpu_cores": 1, "backend_parameters": {"VmSize": "big", "vmsize2": None}}
    new = validate_task(task(resources=sent))
    assert new.document["resources"] == {"cpu_cores": 1}
    assert len(new.warnings) == 2
    assert "'VmSize'" in new.warnings[0]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read_task(b"\xef\xbb\xbf" + json.dumps(task()).encode()).document == task()


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_PATHS = st.sampled_from(["/a", "/a/b", "/a/*", "/", "a", "-", "", "/dev/null", "/../x", "\ud800", "/a\0"])
_URLS = st.sampled_from(["http://h/x", "s3://b/k", "/x", "file://h/x", "http://[", "", "x:y", "http://h:x/"])
_JSON = st.recursive(
    _SCALARS | _PATHS | _URLS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with any of these fields, each with a likely value or with anything."""
    return st.fixed_dictionaries({}, optional={name: value | _JSON for name, value in fields.items()})


_FILES = _object(
    path=_PATHS, url=_URLS, content=st.text(max_size=3), type=st.just("FILE"), path_prefix=_PATHS
)
_EXECUTORS = _object(
    image=st.just("alpine"), command=st.lists(st.text(max_size=3)), stdin=_PATHS, workdir=_PATHS, env=_JSON
)
_TASKS = _object(
    executors=st.lists(_EXECUTORS, max_size=3),
    inputs=st.lists(_FILES, max_size=4),
    outputs=st.lists(_FILES, max_size=4),
    volumes=st.lists(_PATHS, max_size=3),
    resources=_object(
        cpu_cores=st.integers(), ram_gb=st.floats(), backend_parameters=_JSON, backend_parameters_strict=_JSON
    ),
    tags=_JSON,
)


def outcome(document: Any) -> NewTask | InvalidRequest:
    try:
        return validate_task(document)
    except InvalidRequest as refused:
        return refused


@given(_TASKS | _JSON)
def test_anything_gives_a_task_or_faults(document: Any) -> None:
    result = outcome(document)
    if isinstance(result, InvalidRequest):
        assert result.faults
        assert all(fault.field and fault.message for fault in result.faults)
    else:
        # What was stored is valid, and validating it again changes nothing.
        assert validate_task(result.document) == NewTask(result.document)
        assert json.loads(json.dumps(result.document)) == result.document


@given(st.binary(max_size=200))
def test_any_bytes_give_a_task_or_faults(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_task(body)


def test_a_file_in_s3_has_a_key_and_a_directory_needs_none() -> None:
    inputs = [
        {"path": "/a", "url": "s3://bucket"},
        {"path": "/b", "url": "s3://bucket", "type": "DIRECTORY"},
    ]
    outputs = [
        {"path": "/c", "url": "s3://bucket/"},
        {"path": "/d/*", "path_prefix": "/d", "url": "s3://bucket/"},
    ]
    faults = faults_of(task(inputs=inputs, outputs=outputs))
    assert set(faults) == {"inputs[0].url", "outputs[0].url"}


def test_keys_in_an_s3_url_are_refused_with_a_hint_and_not_repeated() -> None:
    faults = faults_of(task(inputs=[{"path": "/a", "url": "s3://AKIA:hush@bucket/key"}]))
    assert "credentials.NAME" in faults["inputs[0].url"]
    assert "hush" not in str(faults)
