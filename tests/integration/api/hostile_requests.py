"""Requests that nobody sends by accident, each with the status that it must get. None may store anything."""

import json
from typing import Any, NamedTuple

from tesp_api.store.page_token import token_after

TASKS = "/ga4gh/tes/v1/tasks"
VALIDATE = "/tesp/v1/tasks:validate"
BULK = "/tesp/v1/tasks:bulk"


class Hostile(NamedTuple):
    """A request: `target` stands in the request line as it is."""

    name: str
    status: int
    method: str
    target: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def get(name: str, status: int, target: str, *headers: tuple[str, str]) -> Hostile:
    return Hostile(name, status, "GET", target, b"", headers)


def listing(name: str, query: str, status: int = 400) -> Hostile:
    return get(name, status, f"{TASKS}?{query}")


def post(name: str, body: bytes | str, target: str = TASKS, status: int = 400, **more: Any) -> Hostile:
    return Hostile(name, status, "POST", target, body.encode() if isinstance(body, str) else body, **more)


def task(**parts: Any) -> dict[str, Any]:
    return {"executors": [{"image": "a", "command": ["b"]}]} | parts


def bad_task(name: str, /, **parts: Any) -> Hostile:
    return post(name, json.dumps(task(**parts)))


def bad_executor(name: str, /, **parts: Any) -> Hostile:
    return post(name, json.dumps({"executors": [{"image": "a", "command": ["b"]} | parts]}))


def wrong_types() -> list[Hostile]:
    """Every field of a task with every type that it does not have."""
    wrong: dict[str, list[Any]] = {
        "text": [1, 1.5, True, [], {}, ["a"]],
        "texts": ["a", 1, True, {}, [1], [None], [[]], ["a", {}]],
        "map": ["a", 1, True, [], {"a": 1}, {"a": []}, {"a": {}}, {"a": True}],
        "number": ["1", [], {}, True, "NaN", "1e9"],
        "flag": ["true", 1, 0, [], {}],
        "list": ["a", 1, True, {}, [1], [None], ["a"], [[]], [True]],
        "object": ["a", 1, True, [], [{}]],
    }
    fields = {
        **dict.fromkeys(("name", "description"), "text"),
        **dict.fromkeys(("inputs", "outputs", "executors"), "list"),
        "resources": "object",
        "volumes": "texts",
        "tags": "map",
    }
    found = [
        bad_task(f"{field} as {value!r}", **{field: value})
        for field, kind in fields.items()
        for value in wrong[kind]
    ]
    in_executor = {
        **dict.fromkeys(("image", "workdir", "stdin", "stdout", "stderr"), "text"),
        "command": "texts",
        "env": "map",
        "ignore_error": "flag",
    }
    found += [
        bad_executor(f"executors[0].{field} as {value!r}", **{field: value})
        for field, kind in in_executor.items()
        for value in wrong[kind]
    ]
    in_file = dict.fromkeys(("name", "description", "path", "url", "type"), "text")
    of_kind = {"inputs": in_file | {"content": "text", "streamable": "flag"}, "outputs": in_file}
    found += [
        bad_task(
            f"{kind}[0].{field} as {value!r}", **{kind: [{"path": "/a", "url": "/data/a"} | {field: value}]}
        )
        for kind, of_file in of_kind.items()
        for field, shape in of_file.items()
        for value in wrong[shape]
    ]
    in_resources = {
        **dict.fromkeys(("cpu_cores", "ram_gb", "disk_gb"), "number"),
        **dict.fromkeys(("preemptible", "backend_parameters_strict"), "flag"),
        "zones": "texts",
        "backend_parameters": "map",
    }
    found += [
        bad_task(f"resources.{field} as {value!r}", resources={field: value})
        for field, kind in in_resources.items()
        for value in wrong[kind]
    ]
    return found


BODIES = [
    post("no body", b""),
    post("only spaces", b" \n\t"),
    post("no JSON", b"executors: []"),
    post("half of it", b'{"executors": [{"image": "a"'),
    post("two documents", json.dumps(task()) * 2),
    post("a trailing comma", b'{"executors": [{"image": "a", "command": ["b"]},]}'),
    post("a comment", b'{"executors": [] /* none */}'),
    post("single quotes", b"{'executors': []}"),
    post("a form", b"executors=a", headers=(("Content-Type", "application/x-www-form-urlencoded"),)),
    post("null", b"null"),
    post("a number", b"1"),
    post("a text", b'"task"'),
    post("a list of tasks", json.dumps([task()])),
    post("UTF-16", json.dumps(task()).encode("utf-16")),
    post("UTF-32 without a mark", json.dumps(task()).encode("utf-32-le")),
    post("two byte order marks", b"\xef\xbb\xbf" * 2 + json.dumps(task()).encode()),
    post("invalid UTF-8 in a text", json.dumps(task(name="X")).encode().replace(b"X", b"\xff\xfe")),
    post("an overlong NUL", json.dumps(task(name="X")).encode().replace(b"X", b"\xc0\x80")),
    post("a surrogate in UTF-8", json.dumps(task(name="X")).encode().replace(b"X", b"\xed\xa0\x80")),
    post("a lone surrogate", json.dumps(task(name="X")).replace("X", "\\ud800")),
    post("surrogates the wrong way round", json.dumps(task(name="X")).replace("X", "\\udc00\\ud800")),
    post("a raw control character in a text", json.dumps(task(name="X")).replace("X", "\x01")),
    post("NaN", json.dumps(task(resources={"ram_gb": float("nan")}))),
    post("Infinity", json.dumps(task(resources={"ram_gb": float("inf")}))),
    post("-Infinity in a field that nobody knows", '{"x": -Infinity, ' + json.dumps(task())[1:]),
    post("1e999 gigabytes", json.dumps(task(resources={"ram_gb": 1})).replace("1}", "1e999}")),
    post("a number of 5,000 digits", json.dumps(task(name="X")).replace('"X"', "1" * 5000)),
    post("cores of 4,000 digits", json.dumps(task(resources={"cpu_cores": 1})).replace("1", "1" * 4000)),
    post("lists 100,000 deep", b"[" * 100_000),
    post("objects 20,000 deep", b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
    post("tags 300 deep", json.dumps(task(tags={"a": "X"})).replace('"X"', "[" * 300 + "]" * 300)),
    post("the key executors twice", json.dumps(task()).replace("{", '{"executors": [], ', 1)),
    post("the key image twice", json.dumps(task()).replace('"image"', '"image": "x", "image"')),
    post("a tag twice", json.dumps(task(tags={"a": "b"})).replace('"a": "b"', '"a": "b", "a": "b"')),
    post("a tag twice, once escaped", json.dumps(task(tags={"a": "b"})).replace("}", ', "\\u0061": "c"}')),
    post("more than the limit", b" " * 300_001, status=413),
    post("a task of 6,000 executors", json.dumps({"executors": [{"image": "a", "command": ["b"]}] * 6000})),
    post("30,000 volumes", json.dumps(task(volumes=["/" + "v" * 3] * 30_000))),
    post("a broken task for a dry run", b"{", VALIDATE, 200),
    post("a dry run of 1,000 tags", json.dumps(task(tags={str(n): "v" for n in range(1000)})), VALIDATE, 200),
    post("a dry run with 9,000 unknown parameters",
         json.dumps(task(resources={"backend_parameters": {str(n): "v" for n in range(9000)}})),
         VALIDATE, 200),
    post("a bulk that is a task", json.dumps(task()), BULK),
    post("a bulk in a bulk", json.dumps({"tasks": [{"tasks": [task()]}]}), BULK, 200),
    post("a bulk of 1,001", json.dumps({"tasks": [{}] * 1001}), BULK),
    post("a bulk of a thousand nulls", json.dumps({"tasks": [None] * 1000}), BULK, 200),
    post("a bulk with the key tasks twice", b'{"tasks": [], "tasks": [{}]}', BULK),
    post("a bulk that is too deep", b'{"tasks": ' + b"[" * 5000, BULK),
]  # fmt: skip

FIELDS = [
    bad_task("no executors", executors=[]),
    bad_task("a NUL in the name", name="a\0b"),
    bad_task("a NUL in a tag's key", tags={"a\0": "b"}),
    bad_task("a NUL in a tag", tags={"a": "\0"}),
    bad_task("10,000 tags", tags={str(number): "" for number in range(10_000)}),
    bad_task("a NUL in a zone", resources={"zones": ["\0"]}),
    bad_task("minus one core", resources={"cpu_cores": -1}),
    bad_task("2^63 cores", resources={"cpu_cores": 2**63}),
    bad_task("10^400 gigabytes", resources={"disk_gb": 10**400}),
    bad_task("a strict unknown parameter",
             resources={"backend_parameters": {"a": "b"}, "backend_parameters_strict": True}),
    bad_task("an input at ..", inputs=[{"path": "/a/../../etc/passwd", "content": "x"}]),
    bad_task("an input at /proc/self/environ", inputs=[{"path": "/proc/self/environ", "content": "x"}]),
    bad_task("an input at /", inputs=[{"path": "/", "content": "x"}]),
    bad_task("a newline in a path", inputs=[{"path": "/a\nb", "content": "x"}]),
    bad_task("a path of 5,000 bytes", inputs=[{"path": "/a" * 2500, "content": "x"}]),
    bad_task("a javascript url", inputs=[{"path": "/a", "url": "javascript:alert(1)"}]),
    bad_task("a file on another host", inputs=[{"path": "/a", "url": "file://evil/etc/passwd"}]),
    bad_task("a header in a url", inputs=[{"path": "/a", "url": "http://h/\r\nX: y"}]),
    bad_task("a url without a host", outputs=[{"path": "/a", "url": "http://"}]),
    bad_task("a port of a url that is none", outputs=[{"path": "/a", "url": "http://h:99999/"}]),
    bad_task("a relative volume", volumes=["../../etc"]),
    bad_executor("an option as image", image="--privileged"),
    bad_executor("two words as image", image="alpine --privileged"),
    bad_executor("a shell's words as image", image="u true;\ntouch /tmp/x"),
    bad_executor("an empty program", command=[""]),
    bad_executor("a NUL in an argument", command=["a", "b\0c"]),
    bad_executor("an argument of 200,000 bytes", command=["a", "b" * 200_000]),
    bad_executor("a variable with =", env={"A=B": "c"}),
    bad_executor("a variable without a name", env={"": "c"}),
    bad_executor("stdout in /dev", stdout="/dev/sda"),
    bad_executor("stdin at ..", stdin="/a/../b"),
]  # fmt: skip

_TOKEN_OF_ANOTHER_SHAPE = "AQAAAAAweA"
_NO_TASK = "01900000-0000-7000-8000-000000000000"

QUERIES = [
    listing("a page of nothing", "page_size=0"),
    listing("a page of 2048", "page_size=2048"),
    listing("a page of -1", "page_size=-1"),
    listing("a page of 10^20", "page_size=100000000000000000000"),
    listing("a page of 5,000 digits", "page_size=" + "9" * 5000),
    listing("a page of NaN", "page_size=NaN"),
    listing("a page of 1.5", "page_size=1.5"),
    listing("a page of 0x10", "page_size=0x10"),
    listing("a page of Arabic digits", "page_size=%D9%A1%D9%A2"),
    listing("a page of 1_0", "page_size=1_0"),
    listing("a page of a NUL", "page_size=%00"),
    listing("an unknown view", "view=EVERYTHING"),
    listing("a view with a NUL", "view=FULL%00"),
    listing("a dotless view", "view=M%C4%B1NIMAL"),
    listing("an unknown state", "state=DONE"),
    listing("two states in one", "state=QUEUED,RUNNING"),
    listing("a token from nowhere", "page_token=forged"),
    listing("a token of signs", "page_token=../../etc/passwd"),
    listing("a token with a wrong sum", f"page_token={_TOKEN_OF_ANOTHER_SHAPE}"),
    listing("a token of a number", "page_token=1"),
    listing("a token of what is no id", f"page_token={token_after('zzz')}"),
    listing("a token of nothing", f"page_token={token_after('')}"),
    listing("a token of an operator of MongoDB", f"page_token={token_after('{$gt: 1}')}"),
    listing("a token of an id and more", f"page_token={token_after(_NO_TASK + chr(10))}"),
    listing("a token of an id that nobody has", f"page_token={token_after(_NO_TASK)}", 200),
    listing("a token in another alphabet", "page_token=%C3%BC%C3%BC"),
    listing("a token with a NUL", "page_token=AQ%00"),
    listing("a token of 20,000 signs", "page_token=" + "A" * 20_000),
    listing("a token that is SQL", "page_token=%27%20OR%201=1--"),
    listing("a value without a key", "tag_value=a"),
    listing("more values than keys", "tag_key=a&tag_value=b&tag_value=c"),
    listing("a NUL in a key", "tag_key=%00"),
    listing("a NUL in a prefix", "name_prefix=%00"),
    listing("1,000 tags", "&".join(f"tag_key=k{n}&tag_value=v{n}" for n in range(1000))),
    listing("one tag 1,000 times", "&".join(["tag_key=k"] * 1000)),
    listing("a regular expression as prefix", "name_prefix=.*", 200),
    listing("a costly regular expression as prefix", "name_prefix=(a%2B)%2B%24", 200),
    listing("wildcards of SQL as prefix", "name_prefix=%25_%25", 200),
    listing("SQL as prefix", "name_prefix=';DROP%20TABLE%20tasks;--", 200),
    listing("an operator of MongoDB as prefix", "name_prefix[$ne]=x", 200),
    listing("an operator of MongoDB as tag", "tag_key=$where&tag_value=1", 200),
    listing("a dotted tag", "tag_key=a.b.c&tag_value=x", 200),
    listing("a prefix of the last character", "name_prefix=%F4%8F%BF%BF", 200),
    listing("a prefix that is no UTF-8", "name_prefix=%FF%FE", 200),
    listing("a percent sign alone", "name_prefix=%", 200),
    listing("half of an escape", "name_prefix=%2", 200),
    listing("a prefix of 30,000 signs", "name_prefix=" + "x" * 30_000, 200),
    listing("separators alone", "&&&===&", 200),
    listing("an address of 40,000 signs", "name_prefix=" + "x" * 40_000, 414),
]

PATHS = [
    get("an id that nobody has", 404, f"{TASKS}/nobody"),
    get("an id with a NUL", 404, f"{TASKS}/%00"),
    get("an id with a slash", 404, f"{TASKS}/a%2Fb"),
    get("an id that climbs", 404, f"{TASKS}/..%2f..%2f..%2fetc%2fpasswd"),
    get("an id that climbs in plain sight", 404, f"{TASKS}/../../../etc/passwd"),
    get("an id that climbs twice escaped", 404, f"{TASKS}/%252e%252e%252fetc"),
    get("an id that is no UTF-8", 404, f"{TASKS}/%FF%FE"),
    get("an id with half of an escape", 404, f"{TASKS}/%zz"),
    get("an id of a surrogate", 404, f"{TASKS}/%ED%A0%80"),
    get("an id with a newline", 404, f"{TASKS}/a%0d%0aSet-Cookie:%20x"),
    get("an id that is SQL", 404, f"{TASKS}/'%20OR%20'1'='1"),
    get("an id that is an object", 404, f"{TASKS}/%7B%22$ne%22:null%7D"),
    get("an id of 10,000 signs", 404, f"{TASKS}/{'x' * 10_000}"),
    get("an id of spaces", 404, f"{TASKS}/%20%20"),
    get("a cancel that is read", 404, f"{TASKS}/x:cancel"),
    get("a file of ours", 404, "/docs/files/..%2f..%2f..%2f..%2fpyproject.toml"),
    get("a file of the system", 404, "/docs/files//etc/passwd"),
    get("a file beside the dashboard's", 404, "/ui/assets/x/..%2f..%2f..%2fweb%2f__init__.py"),
    get("a log of executor -1", 404, "/tesp/v1/tasks/nobody/logs/-1/stdout"),
    get("a path of nobody", 404, "/.env"),
    get("two slashes", 404, f"/{TASKS}"),
    post("a cancel of nobody", b"", f"{TASKS}/nobody:cancel", 404),
    post("a cancel of all", b"", f"{TASKS}/*:cancel", 404),
    post("a cancel without an id", b"", f"{TASKS}/:cancel", 405),
    post("a cancel of a cancel", b"", f"{TASKS}/x:cancel:cancel", 404),
    Hostile("a delete of nobody", 404, "DELETE", "/tesp/v1/tasks/nobody"),
    Hostile("a delete of a NUL", 404, "DELETE", "/tesp/v1/tasks/%00"),
    Hostile("a delete of all", 405, "DELETE", TASKS),
    Hostile("a delete on the standard's path", 405, "DELETE", f"{TASKS}/x"),
    Hostile("a delete of the bulk", 404, "DELETE", "/tesp/v1/tasks:bulk/x"),
    Hostile("PUT", 405, "PUT", TASKS),
    Hostile("PATCH", 405, "PATCH", f"{TASKS}/x"),
    Hostile("TRACE", 405, "TRACE", TASKS),
    Hostile("OPTIONS", 405, "OPTIONS", TASKS),
    Hostile("POST to a task", 405, "POST", f"{TASKS}/x"),
    Hostile("POST to service-info", 405, "POST", "/ga4gh/tes/v1/service-info"),
    Hostile("GET of the bulk", 405, "GET", BULK),
    Hostile("a method that is none", 400, "FOO", TASKS),
]

HEADERS = [
    get("one header of 100,000 bytes", 431, TASKS, ("X-Long", "x" * 100_000)),
    get("10,000 headers", 431, TASKS, *((f"X-{n}", "y") for n in range(10_000))),
    get("an answer in another type", 200, TASKS, ("Accept", "application/xml")),
    get("a method to be taken instead", 200, TASKS, ("X-HTTP-Method-Override", "DELETE")),
    get("a host of somebody else", 403, TASKS, ("Host", "evil.example")),
    get("a range", 200, TASKS, ("Range", "bytes=0-99999999999999999999")),
    post("a key with spaces", json.dumps(task()), headers=(("Idempotency-Key", "a b"),)),
    post("an empty key", json.dumps(task()), headers=(("Idempotency-Key", ""),)),
    post("a key of 10,000 signs", json.dumps(task()), headers=(("Idempotency-Key", "x" * 10_000),)),
    post("two keys", json.dumps(task()), headers=(("Idempotency-Key", "a"), ("Idempotency-Key", "b"))),
    post("a length that is no number", b"", headers=(("Content-Length", "many"),)),
    post("a length below zero", b"", headers=(("Content-Length", "-1"),)),
    post("two lengths", b"{}", headers=(("Content-Length", "2"), ("Content-Length", "3"))),
    post("a length of 10^30", b"", status=400, headers=(("Content-Length", "1" + "0" * 30),)),
    post("a length beyond the limit", b"", status=413,
         headers=(("Content-Length", "999999999"), ("Expect", "100-continue"))),
    post("a body that says it is packed", b"{}", headers=(("Content-Encoding", "gzip"),)),
]  # fmt: skip

HOSTILE = [*wrong_types(), *BODIES, *FIELDS, *QUERIES, *PATHS, *HEADERS]
