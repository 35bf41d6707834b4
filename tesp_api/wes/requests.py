"""From the fields of a request that starts a run to a run that can be stored, or to all its faults at once.

Lenient where clients are known to be: types and versions in any case and with or without a `v`, nulls and
empty texts for what is absent, `#fragments` on URLs.
Source: WES 1.1, RunRequest.
"""

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tesp_api.errors import Fault, InvalidRequest
from tesp_api.tes.json_body import read_json
from tesp_api.tes.paths import ancestors, path_fault
from tesp_api.tes.urls import scheme_of
from tesp_api.wes.engines.base import WorkflowEngine

RESUME = "resume"
"""The engine parameter that names a run whose finished steps are taken over."""

TEXTS = (
    "workflow_type",
    "workflow_type_version",
    "workflow_url",
    "workflow_engine",
    "workflow_engine_version",
)
OBJECTS = ("workflow_params", "tags", "workflow_engine_parameters")
MOST_ATTACHMENTS = 10_000
_NAME_MAX_BYTES = 1000

_WITH_LOGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]*@")
_WEB_SCHEMES = frozenset({"http", "https", "ftp", "ftps", "s3", "file"})


@dataclass(frozen=True, slots=True)
class NewRun:
    """A valid request: the `document` as WES shows it, and what it asks for in our own words."""

    document: Mapping[str, Any]
    engine: str
    attachments: Sequence[str] = ()
    resumes: str = ""
    warnings: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class Asked:
    """What a stored request asks an engine for."""

    workflow_type: str
    workflow_type_version: str
    engine_parameters: Mapping[str, str]


def read_form_value(name: str, text: str) -> Any:
    """The value of a form's field: the object that is JSON in it, or the text.

    Raises:
        InvalidRequest: it should be JSON, and is not.
    """
    if name not in OBJECTS:
        return text
    if not text.strip():
        return None
    try:
        return read_json(text.encode())
    except (InvalidRequest, UnicodeEncodeError) as error:
        said = (
            error.faults[0].message
            if isinstance(error, InvalidRequest)
            else "has letters that are no Unicode"
        )
        raise InvalidRequest([Fault(name, said)]) from None


def read_run_request(
    fields: Mapping[str, Any],
    attachments: Sequence[str],
    engines: Mapping[str, WorkflowEngine],
    versions: Mapping[str, str],
) -> NewRun:
    """The run in the fields of a request and the names of its attachments, as `attachment_name` gives them.

    `engines` are those that are installed, by name, and `versions` what is installed of each.

    Raises:
        InvalidRequest: names every fault.
    """
    faults: list[Fault] = []
    document: dict[str, Any] = {}
    for name in TEXTS:
        if (text := _text(fields, name, faults)) is not None:
            document[name] = text
    params = _object(fields, "workflow_params", faults)
    document["workflow_params"] = params
    document["tags"] = _text_map(fields, "tags", faults)
    parameters = _text_map(fields, "workflow_engine_parameters", faults)
    if parameters:
        document["workflow_engine_parameters"] = parameters
    faults += _missing(document)
    faults += _login_faults(document)
    if "workflow_url" in document:
        faults += _url_faults(document["workflow_url"], attachments)
    engine = _engine_for(document, engines, faults)
    if engine is not None:
        faults += _version_faults(document, versions[engine.name])
    if faults or engine is None:
        raise InvalidRequest(faults)
    unknown = sorted(parameters.keys() - engine.parameters.keys() - {RESUME})
    warnings = [
        f"workflow_engine_parameters.{name}: {engine.name} knows no such parameter" for name in unknown
    ]
    return NewRun(document, engine.name, tuple(attachments), parameters.get(RESUME, ""), warnings)


def asked_of(document: Mapping[str, Any], engine: WorkflowEngine) -> Asked:
    """What a request that was valid when it came asks the engine for, in the engine's own words."""
    kind = _own_word(document["workflow_type"], engine.workflow_types) or document["workflow_type"]
    versions = engine.workflow_types.get(kind, ())
    asked = document["workflow_type_version"]
    parameters = dict(document.get("workflow_engine_parameters", {}))
    parameters.pop(RESUME, None)
    return Asked(kind, _own_version(asked, versions) or asked, parameters)


def attachment_name(given: str) -> str:
    """The path of an attachment in the folder of attachments.

    Raises:
        InvalidRequest: it leads out of the folder, or cannot be a path.
    """
    name = posixpath.normpath(given) if given and "/../" not in f"/{given}/" else ""
    fault = ""
    if not name or name == "." or given.endswith("/"):
        fault = "must be the name of a file, and without .. in it"
    elif name.startswith("/") or "\\" in name:
        fault = "must be relative, with / between its parts"
    elif unusable := path_fault(f"/{name}"):
        fault = unusable
    elif len(name.encode(errors="replace")) > _NAME_MAX_BYTES:
        fault = f"is too long: at most {_NAME_MAX_BYTES} bytes"
    if fault:
        raise InvalidRequest([Fault("workflow_attachment", f"the filename {given[:200]!r} {fault}")])
    return name


def check_places(names: Collection[str]) -> None:
    """Return if no attachment is where another one needs a directory.

    Raises:
        InvalidRequest: one is.
    """
    for name in names:
        for above in ancestors(f"/{name}"):
            if above[1:] in names:
                fault = f"the filename {above[1:][:200]!r} is a directory in another one, {name[:200]!r}"
                raise InvalidRequest([Fault("workflow_attachment", fault)])


def attached_workflow(url: str, attachments: Sequence[str]) -> str | None:
    """The attachment that a relative workflow_url names, without its fragment; None if there is none."""
    path = url.partition("#")[0]
    for spelt in (path, unquote(path)):
        name = posixpath.normpath(spelt) if spelt else ""
        if name in attachments:
            return name
    return None


def _text(fields: Mapping[str, Any], name: str, faults: list[Fault]) -> str | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    faults.append(Fault(name, "must be a text"))
    return None


def _object(fields: Mapping[str, Any], name: str, faults: list[Fault]) -> dict[str, Any]:
    value = fields.get(name)
    if isinstance(value, str):  # JSON in JSON, as some clients send it
        try:
            value = read_form_value(name, value)
        except InvalidRequest as error:
            faults += error.faults
            return {}
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    faults.append(Fault(name, "must be a JSON object"))
    return {}


def _text_map(fields: Mapping[str, Any], name: str, faults: list[Fault]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for key, value in _object(fields, name, faults).items():
        if isinstance(value, dict | list):
            faults.append(Fault(f"{name}.{key[:80]}", "must be a text"))
        elif value is None:
            texts[key] = ""
        else:
            texts[key] = value if isinstance(value, str) else json.dumps(value)
    return texts


def _missing(document: Mapping[str, Any]) -> Iterator[Fault]:
    for name in ("workflow_type", "workflow_type_version", "workflow_url"):
        if name not in document:
            yield Fault(name, "is required")
    if "workflow_engine_version" in document and "workflow_engine" not in document:
        yield Fault("workflow_engine", "is required where workflow_engine_version is given")


def _login_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    """URLs with a user or password in them: they would be stored, and shown, with the run."""
    for field_name, text in _texts_in(document, ""):
        if _WITH_LOGIN.match(text):
            yield Fault(
                field_name,
                "is a URL with a user or password in it, which would be kept with the run: the login belongs "
                "in a table [credentials.NAME] of the server's settings",
            )


def _texts_in(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts_in(item, f"{at}.{key[:80]}" if at else key[:80])
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts_in(item, f"{at}[{number}]")


def _url_faults(url: str, attachments: Sequence[str]) -> Iterator[Fault]:
    scheme = scheme_of(url)
    if scheme in _WEB_SCHEMES and "://" in url:
        return
    if scheme and "://" in url:
        known = ", ".join(f"{one}://" for one in sorted(_WEB_SCHEMES))
        yield Fault("workflow_url", f"the scheme {scheme[:40]!r} is not supported: supported are {known}")
    elif url.startswith("/"):
        yield Fault("workflow_url", "is a path of this server: attach the file, or give a file:// URL")
    elif attached_workflow(url, attachments) is None:
        there = ", ".join(list(attachments)[:5]) or "none"
        yield Fault(
            "workflow_url", f"is relative, and no workflow_attachment has that filename (there are: {there})"
        )


def _engine_for(
    document: Mapping[str, Any], engines: Mapping[str, WorkflowEngine], faults: list[Fault]
) -> WorkflowEngine | None:
    """The engine that the request names, or the first that knows its type; None with a fault."""
    if "workflow_type" not in document:
        return None
    if not engines:
        faults.append(
            Fault(
                "workflow_type", "no workflow engine is installed here: `tesp engine install` on the server"
            )
        )
        return None
    asked = document.get("workflow_engine", "")
    named = [one for name, one in engines.items() if not asked or name.lower() == asked.lower()]
    if not named:
        faults.append(Fault("workflow_engine", f"there is no {asked[:80]!r}: there are {', '.join(engines)}"))
        return None
    for engine in named:
        kind = _own_word(document["workflow_type"], engine.workflow_types)
        if kind is not None:
            version = document.get("workflow_type_version")
            known = engine.workflow_types[kind]
            if version is not None and _own_version(version, known) is None:
                said = f"{engine.name} knows {kind} in {', '.join(known)}, and not in {version[:40]!r}"
                faults.append(Fault("workflow_type_version", said))
            return engine
    kinds = sorted({kind for engine in named for kind in engine.workflow_types})
    faults.append(Fault("workflow_type", f"must be one of {', '.join(kinds)}"))
    return None


def _version_faults(document: Mapping[str, Any], installed: str) -> Iterator[Fault]:
    asked = document.get("workflow_engine_version")
    if asked is not None and _own_version(asked, [installed]) is None:
        yield Fault("workflow_engine_version", f"must be {installed}, which is installed, not {asked[:40]!r}")


def _own_word(asked: str, words: Iterable[str]) -> str | None:
    return next((word for word in words if word.lower() == asked.strip().lower()), None)


def _own_version(asked: str, versions: Sequence[str]) -> str | None:
    plain = asked.strip().lower().removeprefix("v")
    return next((one for one in versions if one.lower().removeprefix("v") == plain), None)
