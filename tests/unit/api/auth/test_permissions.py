"""The one decision, over all that it looks at; and pages that are put together of several lists."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tesp_api.api.auth.identity import LOCAL, OPEN, Action, Identity
from tesp_api.api.auth.permissions import Verdict, may
from tesp_api.api.auth.visible_tasks import merged
from tesp_api.store.base import Glance, Page
from tesp_api.store.page_token import task_id_in, token_after
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State

TASK = Glance(State.RUNNING, "alice", ("lab",))


def test_every_combination() -> None:
    for name, groups, is_admin, scopes, action in itertools.product(
        *(("alice", "bob"), ((), ("lab",), ("other", "lab"), ("other",)), (False, True)),
        *((frozenset(Action), frozenset({Action.READ}), frozenset[Action]()), Action),
    ):
        who = Identity(LOCAL, name, groups=groups, is_admin=is_admin, scopes=scopes)
        sees = name == "alice" or "lab" in groups or is_admin
        expected = Verdict.FORBIDDEN if action not in scopes else Verdict.ALLOWED if sees else Verdict.HIDDEN
        assert may(who, action, TASK) is expected
        assert may(who, action) is (Verdict.ALLOWED if action in scopes else Verdict.FORBIDDEN)


def test_names_from_elsewhere_are_others() -> None:
    for issuer, subject in (
        ("https://a", "alice"),
        ("https://a#alice", ""),
        ("", "alice"),
        ("local", "Alice"),
    ):
        assert may(Identity(issuer, subject), Action.READ, TASK) is Verdict.HIDDEN
    of_b = Glance(State.RUNNING, "https://a#b#c")
    assert may(Identity("https://a", "b#c"), Action.READ, of_b) is Verdict.ALLOWED


def test_without_logins_everybody_may_all() -> None:
    assert all(may(OPEN, action, TASK) is Verdict.ALLOWED for action in Action)


@given(
    st.lists(st.sets(st.integers(0, 3)), max_size=30),
    st.integers(1, 5),
)
def test_walking_merged_pages_shows_every_task_once(lists_of: list[set[int]], page_size: int) -> None:
    ids = sorted(new_task_id() for _ in lists_of)
    lists = [[one for one, of in zip(ids, lists_of, strict=True) if number in of] for number in range(4)]
    wanted = [one for one, of in zip(ids, lists_of, strict=True) if of]

    def page(number: int, after: str | None) -> Page[tuple[str, State]]:
        """Of list 3 never more than one a page, as if a store had stopped looking."""
        before = "~" if after is None else task_id_in(after)
        rest = [one for one in reversed(lists[number]) if one < before]
        shown = rest[: 1 if number == 3 else page_size]
        more = len(rest) > len(shown)
        return Page([(one, State.QUEUED) for one in shown], token_after(shown[-1]) if more else None)

    seen: list[str] = []
    token: str | None = None
    while True:
        found = merged([page(number, token) for number in range(4)], page_size)
        assert len(found.items) <= page_size
        seen += [one for one, _ in found.items]
        token = found.next_token
        if token is None:
            break
    assert seen == wanted[::-1]
