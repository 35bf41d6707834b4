"""What came with the job because its site cannot ask the API: signed GETs, lists of directories, forms."""

from __future__ import annotations

from typing import Any, Sequence

from ..errors import StagingError
from ..urls import extend, shown, split_s3
from .lending import Ask, Form, Listed, Login, Signed


class LentBeforehand:
    """Implements `Lender` from the part `lent` of task.json. Immutable."""

    def __init__(self, lent: dict[str, Any]) -> None:
        self._gets: dict[str, str] = dict(lent["gets"])
        self._listings = {url: [Listed(**item) for item in items] for url, items in lent["listings"].items()}
        for url, listed in self._listings.items():
            self._gets.update((extend(url, one.name), one.url) for one in listed)
        self._forms: list[dict[str, Any]] = sorted(lent["forms"], key=lambda form: -len(form["s3_url"]))

    def login_for(self, url: str) -> Login | None:
        return None

    def sign(self, asks: Sequence[Ask]) -> list[Signed]:
        return [Signed("GET", self._signed(ask), {}) for ask in asks]

    def _signed(self, ask: Ask) -> str:
        if ask.operation != "get" or ask.url not in self._gets:
            raise StagingError(
                f"{shown(ask.url)}: no {ask.operation} of it was signed beforehand, and this site has no "
                "way to reach the server that signs"
            )
        return self._gets[ask.url]

    def listing_of(self, url: str) -> list[Listed] | None:
        return self._listings.get(url)

    def form_for(self, url: str) -> Form | None:
        """The form for the very URL, or the one for most of it."""
        for form in self._forms:
            if url == form["s3_url"] or (form["is_prefix"] and url.startswith(form["s3_url"])):
                return Form(form["url"], {"key": split_s3(url)[1], **form["fields"]}, form["max_bytes"])
        return None
