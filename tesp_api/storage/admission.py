"""Admission: what a valid task must pass, by this server's settings, before it is stored.

The same for tasks that are created one by one, in bulk, and only looked at.
"""

from itertools import islice

from tesp_api.errors import InvalidRequest
from tesp_api.settings import Settings
from tesp_api.storage.url_rules import UrlRules
from tesp_api.tes.validation import NewTask

_MOST_FAULTS = 100


class Admission:
    """Lets tasks in, or says what keeps them out."""

    def __init__(self, settings: Settings) -> None:
        self._url_rules = UrlRules(settings)

    def admit(self, new: NewTask) -> NewTask:
        """The task as it may be stored.

        Raises:
            InvalidRequest: names every place that the task may not name, at most a hundred.
        """
        faults = list(islice(self._url_rules.faults(new.document), _MOST_FAULTS))
        if faults:
            raise InvalidRequest(faults)
        return new
