"""Wildcards of POSIX 2.13 (`*`, `?`, `[...]`, `[!...]`, `[[:digit:]]`, `\\`) as regular expressions.

None of them matches a slash, nor a dot at the beginning of a name.
"""

from __future__ import annotations

import re

CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "digit": "0-9",
    "lower": "a-z",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def has_wildcard(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def compile_name(pattern: str) -> re.Pattern[str]:
    """Compile the pattern of one path component."""
    return re.compile(_expression(pattern) + r"\Z", re.DOTALL)


def compile_path(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of a whole absolute path."""
    parts = [_expression(part, f"p{number}") for number, part in enumerate(pattern.strip("/").split("/"))]
    return re.compile("/" + "/".join(parts) + r"\Z", re.DOTALL)


def _expression(pattern: str, tag: str = "p") -> str:
    """The expression for one path component; `tag` keeps the names of its groups apart from others'.

    What a `*` has matched is never given back once what stands before the next `*` has been found: else a
    name could be tried in more ways than there is time for.
    """
    first, *others = _between_stars(pattern)
    expression = ("" if pattern.startswith(".") else "(?!\\.)") + first
    for number, part in enumerate(filter(None, others[:-1])):
        expression += f"(?=(?P<{tag}_{number}>[^/]*?{part}))(?P={tag}_{number})"
    if others:
        expression += "[^/]*" + others[-1]
    try:
        return re.compile(expression).pattern
    except re.error:  # a range such as [z-a] or an unknown class: it stands for itself
        return re.escape(pattern)


def _between_stars(pattern: str) -> list[str]:
    """The expressions for what stands between the `*` of a pattern."""
    parts = [""]
    position = 0
    while position < len(pattern):
        sign = pattern[position]
        position += 1
        if sign == "*":
            parts.append("")
        elif sign == "?":
            parts[-1] += "[^/]"
        elif sign == "\\" and position < len(pattern):
            parts[-1] += re.escape(pattern[position])
            position += 1
        elif sign == "[":
            bracket, position = _bracket(pattern, position)
            parts[-1] += bracket
        else:
            parts[-1] += re.escape(sign)
    return parts


def _bracket(pattern: str, start: int) -> tuple[str, int]:
    """The expression for the bracket whose content begins at `start`, and the position after it.

    A bracket that is never closed stands for itself.
    """
    position = start
    negated = pattern[position : position + 1] in ("!", "^") and pattern[position : position + 1] != ""
    position += negated
    content = ""
    first = True
    while position < len(pattern):
        if pattern[position] == "]" and not first:
            return f"[{'^/' if negated else ''}{content}]", position + 1
        first = False
        if pattern.startswith("[:", position) and ":]" in pattern[position + 2 :]:
            end = pattern.index(":]", position + 2)
            content += CLASSES.get(pattern[position + 2 : end], "")
            position = end + 2
            continue
        sign = pattern[position]
        content += sign if sign == "-" else re.escape(sign)
        position += 1
    return re.escape("["), start
