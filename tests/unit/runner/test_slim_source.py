"""Slim source is the same program, line for line."""

import ast
from pathlib import Path

import pytest

import tesp_api.worker
from tesp_api.runner.slim_source import is_protocol, slim

ROOT = Path(tesp_api.worker.__file__).parent


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def plain(source: str) -> str:
    """All of the program's meaning, and where its lines are."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module):
            unneeded = ("typing", "__future__")
            node.body = [one for one in node.body if getattr(one, "module", "") not in unneeded]
        elif is_protocol(node):
            node.body = [ast.Expr(ast.Constant(""), lineno=node.body[0].lineno)]
        if isinstance(body := getattr(node, "body", None), list):
            vars(node)["body"] = [one for one in body if not is_text(one)] or body
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
        if hasattr(node, "lineno"):
            vars(node).update(col_offset=0, end_col_offset=0, end_lineno=0)
    return ast.dump(tree, include_attributes=True)


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_workers_modules_mean_the_same(file: Path) -> None:
    source = file.read_text()
    assert plain(slim(source)) == plain(source)
    assert len(slim(source)) < len(source)


def test_of_types_only_what_the_program_needs_is_imported() -> None:
    source = """from __future__ import annotations
from typing import Any, NamedTuple, Sequence
class A(NamedTuple):
    b: Any
def c(d: Sequence[str]) -> Any: return d
"""
    assert (
        slim(source)
        == """
from typing import NamedTuple
class A(NamedTuple):
 b: None
def c(d) : return d
"""
    )


def test_annotations_of_several_lines_stay_and_are_not_evaluated() -> None:
    source = "from __future__ import annotations\ndef c(d: Sequence[\n    str\n]): return d\n"
    assert slim(source) == source.replace("    str", " str")


def test_strings_keep_their_spaces_and_number_signs() -> None:
    source = '''
def count(x: int, *rest: str, sign: str = "# no -> comment") -> dict[
    str, int
]:
    """Said to readers
    only."""
    text = f"""
        {x}   # é
    """  # said to readers, é
    return {text: x}
'''
    assert (
        slim(source)
        == '''
def count(x, *rest, sign = "# no -> comment") -> dict[
 str, int
]:


 text = f"""
        {x}   # é
    """
 return {text: x}
'''
    )
