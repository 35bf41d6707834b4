"""Work orders: tokens that say "I am this attempt of this task", signed by the server and kept nowhere."""

import base64
import hashlib
import hmac
import re
from typing import NamedTuple

from tesp_api.errors import WorkOrderRefused
from tesp_api.storage.server_key import ServerKey

PURPOSE = "work orders"

_TOKEN = re.compile(r"([A-Za-z0-9-]{1,64})\.([1-9][0-9]{0,8})\.([A-Za-z0-9_-]{43})")


class WorkOrder(NamedTuple):
    """Whose token it is."""

    task_id: str
    attempt: int


class WorkOrders:
    """Makes tokens and reads them. They are safe in URLs and headers.

    A token is good as long as the server's key is. Whether its attempt still lives, whoever reads it
    must ask the store.
    """

    def __init__(self, key: ServerKey) -> None:
        self._server_key = key

    def token_for(self, task_id: str, attempt: int) -> str:
        """The same for every call, so that a job that is launched twice has one token."""
        order = f"{task_id}.{attempt}"
        return f"{order}.{self._signature(order)}"

    def read(self, token: str) -> WorkOrder:
        """Whose token it is.

        Raises:
            WorkOrderRefused: this server, with its present key, has not made it.
        """
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            raise WorkOrderRefused("it is no work order")
        task_id, attempt, signature = parts.groups()
        if not hmac.compare_digest(signature, self._signature(f"{task_id}.{attempt}")):
            raise WorkOrderRefused("its signature is not this server's", claimed_task_id=task_id)
        return WorkOrder(task_id, int(attempt))

    def _signature(self, order: str) -> str:
        key = self._server_key.derive(PURPOSE)
        digest = hmac.digest(key, order.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
