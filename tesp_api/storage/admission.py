"""Admission: what a valid task must pass, by this server's settings, before it is stored.

The same for tasks that are created one by one, in bulk, and only looked at.
"""

from dataclasses import replace
from itertools import chain, islice

from tesp_api.errors import InvalidRequest
from tesp_api.settings import Settings
from tesp_api.storage.credential_rules import CredentialRules
from tesp_api.storage.url_rules import UrlRules
from tesp_api.tes.validation import NewTask

_MOST_FAULTS = 100
_MOST_WARNINGS = 10


class Admission:
    """Lets tasks in, or says what keeps them out."""

    def __init__(self, settings: Settings) -> None:
        self._url_rules = UrlRules(settings)
        self._credential_rules = CredentialRules(settings)

    def admit(self, new: NewTask, owner: str) -> NewTask:
        """The task as it may be stored for `owner`, with what its user should know before it runs.

        Raises:
            InvalidRequest: names every place and credential that the task may not name, at most a hundred.
        """
        found = chain(self._url_rules.faults(new.document), self._credential_rules.faults(new, owner))
        faults = list(islice(found, _MOST_FAULTS))
        if faults:
            raise InvalidRequest(faults)
        warnings = islice(self._credential_rules.warnings(new, owner), _MOST_WARNINGS)
        return replace(new, warnings=(*new.warnings, *warnings))
