"""Python source without what only its readers need; every line keeps its number."""

import ast
import io
import tokenize
from collections.abc import Iterator

INDENTATION = 4


def slim(source: str) -> str:
    """The same program without docstrings, comments, and annotations of functions, narrowly indented.

    Expects four spaces for each level.
    """
    lines = [line.encode() for line in source.split("\n")]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1].decode()[:column].rstrip().encode()
    tree = ast.parse(source)
    for row, start, end in sorted(_annotations(tree, lines), reverse=True):
        lines[row] = lines[row][:start] + lines[row][end:]
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1 : last] = [b" " * node.col_offset + b"''", *[b""] * (last - node.lineno)]
    return _narrow(b"\n".join(lines).decode())


def _annotations(tree: ast.AST, lines: list[bytes]) -> Iterator[tuple[int, int, int]]:
    """Where they are, as line, start and end from 0; those of several lines are left."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            row, start, annotation = node.lineno, node.col_offset + len(node.arg), node.annotation
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            row, annotation = node.returns.lineno, node.returns
            start = lines[row - 1].rindex(b"->", 0, annotation.col_offset)
        else:
            continue
        if row == annotation.lineno == annotation.end_lineno:
            yield row - 1, start, annotation.end_col_offset or 0


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
