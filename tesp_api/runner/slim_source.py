"""Python source without what only its readers need; every line keeps its number."""

import ast
import io
import tokenize
from collections.abc import Iterator
from typing import TypeGuard

INDENTATION = 4
LATER = "from __future__ import annotations"


def slim(source: str) -> str:
    """The same program without docstrings, comments, annotations, and what protocols ask for.

    It is narrowly indented. What is declared with a type is declared with `None`, which costs a `NamedTuple`
    much less to make of. Expects four spaces for each level.
    """
    lines = [line.encode() for line in source.split("\n")]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1].decode()[:column].rstrip().encode()
    tree = ast.parse(source)
    for row, start, end, instead in sorted(_annotations(tree, lines), reverse=True):
        lines[row] = lines[row][:start] + instead + lines[row][end:]
    for told, is_all in _told_to_readers(tree):
        first, last = told[0], told[-1].end_lineno or 0
        instead = b" " * first.col_offset + b"''" if is_all else b""
        lines[first.lineno - 1 : last] = [instead, *[b""] * (last - first.lineno)]
    return _narrow(_without_types(b"\n".join(lines).decode()))


def _told_to_readers(tree: ast.AST) -> Iterator[tuple[list[ast.stmt], bool]]:
    """Docstrings, and the bodies of protocols, which nothing ever calls; and whether nothing is beside."""
    blocks = [value for _, value in ast.iter_fields(tree) if isinstance(value, list)]
    for node in ast.iter_child_nodes(tree):
        if is_protocol(node):
            yield node.body, True
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield [node], [node] in blocks
        else:
            yield from _told_to_readers(node)


def is_protocol(node: ast.AST) -> TypeGuard[ast.ClassDef]:
    """Whether it is the definition of a `typing.Protocol`."""
    return isinstance(node, ast.ClassDef) and [ast.unparse(base) for base in node.bases] == ["Protocol"]


def _annotations(tree: ast.AST, lines: list[bytes]) -> Iterator[tuple[int, int, int, bytes]]:
    """Where they are, as line, start and end from 0, and what stands there instead; none of several lines."""
    for node in ast.walk(tree):
        instead = b""
        if isinstance(node, ast.arg) and node.annotation is not None:
            row, start, annotation = node.lineno, node.col_offset + len(node.arg), node.annotation
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            row, annotation = node.returns.lineno, node.returns
            start = lines[row - 1].rindex(b"->", 0, annotation.col_offset)
        elif isinstance(node, ast.AnnAssign):
            row, annotation, instead = node.lineno, node.annotation, b"None"
            start = annotation.col_offset
        else:
            continue
        if row == annotation.lineno == annotation.end_lineno:
            yield row - 1, start, annotation.end_col_offset or 0, instead


def _without_types(source: str) -> str:
    """Without those names of `typing` that only annotations have, where these are never evaluated.

    Where no annotation is left but `None`, it is evaluated, which is quicker than to keep it as a string.
    """
    if LATER not in source:
        return source
    tree = ast.parse(source)
    if all(is_none(annotation) for annotation in _all_annotations(tree)):
        source = source.replace(LATER, "", 1)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    lines = source.split("\n")
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "typing" and node.lineno == node.end_lineno:
            names = ", ".join(alias.name for alias in node.names if alias.name in used)
            lines[node.lineno - 1] = f"from typing import {names}" if names else ""
    return "\n".join(lines)


def _all_annotations(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        found = node.returns if isinstance(node, ast.FunctionDef) else getattr(node, "annotation", None)
        if found is not None:
            yield found


def is_none(node: ast.expr) -> bool:
    """Whether it is a plain `None`."""
    return isinstance(node, ast.Constant) and node.value is None


def _narrow(source: str) -> str:
    """Indented by one space; lines within strings stay as they are."""
    kept: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            kept.update(range(node.lineno, node.end_lineno or 0))
    lines = source.split("\n")
    return "\n".join(
        line
        if number in kept
        else " " * ((len(line) - len(line.lstrip(" "))) // INDENTATION) + line.lstrip(" ")
        for number, line in enumerate(lines)
    )
