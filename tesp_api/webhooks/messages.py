"""What is sent: the body, and the headers that sign it.

Source: Standard Webhooks 1.0 (https://github.com/standard-webhooks/standard-webhooks, spec).
"""

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from tesp_api.settings import Settings
from tesp_api.store.outbox import Notice
from tesp_api.tes.times import rfc3339
from tesp_api.tes.webhook_parameters import secret_bytes
from tesp_api.webhooks.watches import About

_PATHS = {"task": "/ga4gh/tes/v1/tasks", "run": "/ga4gh/wes/v1/runs"}


def body_of(notice: Notice, about: About, settings: Settings) -> bytes:
    """The message of a notice: the same for each of its tries."""
    base = settings.webhooks.server_url or settings.server.root_path
    data: dict[str, Any] = {
        "id": notice.subject,
        "event_id": notice.event_id,
        "state": notice.state,
        "time": rfc3339(notice.at),
        "owner": about.owner,
        "link": f"{base.rstrip('/')}{_PATHS[notice.kind]}/{notice.subject}",
    }
    if notice.previous is not None:
        data["previous_state"] = notice.previous
    if notice.kind == "task":
        data["attempt"] = notice.attempt
    if about.name:
        data["name"] = about.name
    if about.tags is None:
        data["tags_left_out"] = True
    else:
        data["tags"] = dict(about.tags)
    return message(f"{notice.kind}.state", notice.at, data)


def message(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    """A message with this content; ASCII."""
    return json.dumps({"type": kind, "timestamp": rfc3339(at), "data": data}).encode()


def signed_headers(message_id: str, sent_at: datetime, body: bytes, secret: str) -> dict[str, str]:
    """The headers of a message that is sent now."""
    timestamp = int(sent_at.timestamp())
    signed = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret_bytes(secret), signed, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "tesp-webhook",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
