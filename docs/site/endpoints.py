"""docs/reference/http.md: every endpoint and every document, of what the server serves at /openapi.json."""

from typing import Any

from docs.site.tables import code, table
from tesp_api.api.openapi import openapi_document

HEAD = """# HTTP API

A server serves the same for programs at `/openapi.json`, and at `/docs` as a page on which all can be tried.
[The API by curl](../howto/curl.md) is a session with it; [live.md](../live.md) tells of the streams.
[Errors](errors.md) says what refusals mean: any endpoint may answer 401 and 403 where users log in.
"""
_METHODS = ("get", "post", "put", "delete", "patch")


def http_page() -> str:
    """The page."""
    document = openapi_document("")
    parts = [HEAD]
    for tag in document["tags"]:
        parts.append(f"## {tag['name']}\n\n{tag.get('description', '')}\n")
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if method in _METHODS and tag["name"] in operation["tags"]:
                    parts.append(_operation(f"{method.upper()} {path}", operation, document))
    parts.append(
        "## Documents\n\nThe fields of what is sent and answered. Those that have no value are absent.\n"
    )
    parts += [
        _schema(name, one)
        for name, one in sorted(_schemas(document).items(), key=lambda pair: pair[0].lower())
    ]
    return "\n".join(parts)


def _operation(title: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [f"### `{title}`\n", operation.get("description", operation.get("summary", "")) + "\n"]
    named = [_followed(one, document) for one in operation.get("parameters", [])]
    rows = (
        (
            code(one["name"]) + (" (required)" if one.get("required") and one["in"] != "path" else ""),
            one["in"],
            _kind(one["schema"]),
            one.get("description", ""),
        )
        for one in named
    )
    parts.append(table(("parameter", "in", "type", "means"), rows))
    if body := operation.get("requestBody"):
        sent = " or ".join(f"{_kind(one['schema'])} as `{kind}`" for kind, one in body["content"].items())
        parts.append(f"Body: {sent}\n")
    answers = ((str(status), *_answer(one, document)) for status, one in operation["responses"].items())
    parts.append(table(("answer", "with", "means"), (row for row in answers if row[0] != "default")))
    return "\n".join(part for part in parts if part)


def _answer(one: dict[str, Any], document: dict[str, Any]) -> tuple[str, str]:
    one = _followed(one, document)
    kinds = [
        _kind(content["schema"]) if "schema" in content and kind == "application/json" else code(kind)
        for kind, content in one.get("content", {}).items()
    ]
    return " or ".join(kinds), one.get("description", "")


def _schemas(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document["components"]["schemas"]
    return found


def _schema(name: str, one: dict[str, Any]) -> str:
    parts = [f"### {name}\n", one.get("description", "") + "\n"]
    if "enum" in one:
        parts.append(", ".join(code(str(each)) for each in one["enum"]) + "\n")
    required = one.get("required", ())
    rows = (
        (code(key) + (" (required)" if key in required else ""), _kind(field), field.get("description", ""))
        for key, field in one.get("properties", {}).items()
    )
    parts.append(table(("field", "type", "means"), rows))
    return "\n".join(part for part in parts if part)


def _followed(one: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` leads to."""
    while "$ref" in one:
        section, name = one["$ref"].removeprefix("#/components/").split("/")
        one = document["components"][section][name]
    return one


def _kind(schema: dict[str, Any]) -> str:
    """A type in words, with a link to its section."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema.get("anyOf") or schema["oneOf"]))
    if "allOf" in schema:
        return _kind(schema["allOf"][0])
    if "enum" in schema:
        return ", ".join(code(str(one)) for one in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    default = (
        f", {code(str(schema['default']))} by default"
        if schema.get("default") not in (None, "", [], {})
        else ""
    )
    return str(kind) + default
