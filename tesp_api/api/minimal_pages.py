"""MINIMAL view written as JSON by hand: clients ask for pages of 2,047 tasks each second.

Ids and page tokens are ours: they hold nothing that JSON would escape.
"""

from collections.abc import Sequence

from tesp_api.tes.states import State, shown_to_1_0

_END_1_1 = {state: f'","state":"{state}"}}' for state in State}
_END_1_0 = {state: f'","state":"{shown_to_1_0(state)}"}}' for state in State}


def minimal_task(task_id: str, state: State, *, tes_1_0: bool) -> bytes:
    """One task as JSON: its id and state."""
    end = (_END_1_0 if tes_1_0 else _END_1_1)[state]
    return f'{{"id":"{task_id}{end}'.encode()


def minimal_page(items: Sequence[tuple[str, State]], token: str | None, *, tes_1_0: bool) -> bytes:
    """The answer to a list: its tasks, and the token of the next page if there is one."""
    ends = _END_1_0 if tes_1_0 else _END_1_1
    tasks = ",".join(['{"id":"' + task_id + ends[state] for task_id, state in items])
    end = f',"next_page_token":"{token}"' if token else ""
    return f'{{"tasks":[{tasks}]{end}}}'.encode()
