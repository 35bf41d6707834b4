"""docs/reference/settings.md: every setting, with its type, its default and what it means.

All of it is read off the models in `tesp_api/settings*.py`.
"""

import functools
from typing import Any

from docs.site.tables import code, table
from tesp_api.settings import Settings

NAMED = {"issuers": "NAME", "credentials": "NAME", "destinations": "NAME", "special": "NAME"}
HEAD = """# Settings

Every key, its default, and what it means. [Settings](../howto/settings.md) says where they are read from;
[settings.toml](../../settings.toml) shows the same as a file to be changed. In the environment, `port` of
`[default.server]` is `TESP_API_SERVER__PORT`. A secret can be in a file of its own: `KEY_file` names it.

`NAME` is a name of yours. A key without a default is not set.
"""


def settings_page() -> str:
    """The page."""
    schema = Settings.model_json_schema()
    parts = [HEAD]
    for path, described in tables_of(schema):
        rows = [
            (code(key), type_of(one, schema), default_of(path, key, one), one["description"])
            for key, one in described["properties"].items()
            if not _table_of(one, schema)
        ]
        if rows:
            parts.append(f"## `[{'.'.join(('default', *path))}]`\n")
            if path:
                parts.append(_first_paragraph(described["description"]) + "\n")
            parts.append(table(("key", "type", "default", "means"), rows))
    return "\n".join(parts)


def tables_of(schema: dict[str, Any]) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """Each table of the settings by its path below `[default]`, outer ones first."""
    found: list[tuple[tuple[str, ...], dict[str, Any]]] = []

    def walk(path: tuple[str, ...], described: dict[str, Any]) -> None:
        found.append((path, described))
        for key, one in described["properties"].items():
            if inner := _table_of(one, schema):
                walk((*path, key, *([NAMED[key]] if key in NAMED else [])), inner)

    walk((), schema)
    return found


def _table_of(one: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """The model of a key that is a table, or holds tables by their names."""
    inner = one.get("additionalProperties", one)
    if not isinstance(inner, dict) or "$ref" not in inner:
        return None
    model = _resolved(inner, schema)
    return model if "properties" in model else None


def _resolved(one: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
    return found


def type_of(one: dict[str, Any], schema: dict[str, Any]) -> str:
    """The type in words, with its bounds: `integer, 1 to 65535`."""
    one = _resolved(one, schema)
    if "anyOf" in one:
        kinds = [type_of(each, schema) for each in one["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in one or "const" in one:
        return ", ".join(code(str(each)) for each in one.get("enum", [one.get("const")]))
    kind = one.get("type", "any")
    if kind == "array":
        inner = one.get("items", {})
        return f"list of {type_of(inner, schema)}" if inner else "list"
    if kind == "object":
        if "properties" in one:
            return "table of " + ", ".join(code(key) for key in one["properties"])
        inner = one.get("additionalProperties")
        return f"table of {type_of(inner, schema)}" if isinstance(inner, dict) else "table"
    if kind == "string" and one.get("format") == "password":
        return "secret"
    names = {"string": "text", "number": "number", "integer": "integer", "boolean": "true or false"}
    formats = {"path": "path", "ipvanynetwork": "network"}
    return formats.get(one.get("format", ""), names.get(kind, str(kind))) + _bounds(one)


def _bounds(one: dict[str, Any]) -> str:
    low, high = one.get("minimum"), one.get("maximum")
    above = one.get("exclusiveMinimum")
    if low is not None and high is not None:
        return f", {low:,} to {high:,.0f}"
    if low is not None:
        return f", {low:,} or more"
    if above is not None:
        return f", more than {above:,}" + ("" if high is None else f", up to {high:,.0f}")
    return ""


def default_of(path: tuple[str, ...], key: str, one: dict[str, Any]) -> str:
    """The default as TOML."""
    default = one.get("default")
    if default is None or default == {}:
        return ""
    if isinstance(default, str) and default.startswith(
        "***"
    ):  # the schema shows no secret, not even "sqlite:"
        revealed: Any = functools.reduce(getattr, (*path, key), Settings())
        default = revealed.get_secret_value()
    return code(_toml(default))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return f"{value}"


def _first_paragraph(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())
