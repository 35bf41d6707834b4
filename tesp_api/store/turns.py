"""Whose turn it is: how new tasks, and runs, are dealt out among the users whose tasks wait."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

UNBOUNDED = 10**9


@dataclass(frozen=True, slots=True)
class Shares:
    """What users have of a runner already, by owner, and how many more tasks each of them may get at most.

    `taken` may be in any unit in which a task more counts as about 1; `served` is the number of each owner's
    last turn, if they had one. Owners that `room` does not name may get `others_room`.
    """

    taken: Mapping[str, int] = field(default_factory=dict)
    served: Mapping[str, int] = field(default_factory=dict)
    room: Mapping[str, int] = field(default_factory=dict)
    others_room: int = UNBOUNDED

    def room_of(self, owner: str) -> int:
        """How many more tasks this owner may get."""
        return self.room.get(owner, self.others_room)


EQUAL_SHARES = Shares()


class Turns:
    """Deals out tasks: the next one is for the owner who has least; of equals, whose turn was longest ago,
    then whose oldest task waits longest.

    `heads` has the oldest waiting task of each owner.
    """

    def __init__(self, heads: Mapping[str, str], shares: Shares) -> None:
        self._heads = {owner: head for owner, head in heads.items() if shares.room_of(owner) > 0}
        self._taken = {owner: shares.taken.get(owner, 0) for owner in self._heads}
        self._served = {owner: shares.served.get(owner, 0) for owner in self._heads}
        self._room = {owner: shares.room_of(owner) for owner in self._heads}
        self._after = dict.fromkeys(self._heads, "")

    def deal(self, count: int) -> dict[str, int]:
        """How many tasks each owner may have of the next `count`; empty once nobody waits any more."""
        turns = [
            (self._taken[owner], self._served[owner], head, owner) for owner, head in self._heads.items()
        ]
        heapq.heapify(turns)
        dealt: dict[str, int] = {}
        while turns and count > 0:
            taken, served, head, owner = turns[0]
            dealt[owner] = dealt.get(owner, 0) + 1
            count -= 1
            if dealt[owner] < self._room[owner]:
                heapq.heapreplace(turns, (taken + 1, served, head, owner))
            else:
                heapq.heappop(turns)
        return dealt

    def after(self, owner: str) -> str:
        """The last task that this owner got; "" if none."""
        return self._after[owner]

    def give(self, owner: str, ids: Sequence[str], dealt: int) -> None:
        """Of `dealt` tasks there were these: the owner's oldest after those before. Fewer are the last."""
        self._room[owner] -= len(ids)
        if len(ids) < dealt or self._room[owner] <= 0:
            del self._heads[owner]
        else:
            self._taken[owner] += len(ids)
            self._after[owner] = ids[-1]


def dealt_out(
    waiting: Sequence[tuple[str, str]], taken: Mapping[str, int], count: int, *, reserved: int = 0
) -> set[str]:
    """The up to `count` ids, of those `waiting`, whose turn it is; `taken` is what owners have already.

    The last `reserved` of them are for owners who have nothing. `waiting` has the id and the owner of each,
    oldest first.
    """
    heads: dict[str, str] = {}
    for waiting_id, owner in waiting:
        heads.setdefault(owner, waiting_id)
    newcomers = {owner: head for owner, head in heads.items() if not taken.get(owner)}
    firsts = Counter(Turns(newcomers, Shares(room=dict.fromkeys(newcomers, 1))).deal(count))
    room = Counter(owner for _, owner in waiting) - firsts
    shares = Shares(firsts + Counter(taken), room=room, others_room=0)
    rest = count - reserved - firsts.total()
    left = firsts + Counter(Turns(heads, shares).deal(rest))
    given: set[str] = set()
    for waiting_id, owner in waiting:
        if left.get(owner, 0) > 0:
            left[owner] -= 1
            given.add(waiting_id)
    return given
