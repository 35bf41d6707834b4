"""What the endpoints about webhooks answer, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel, Field

from tesp_api.api.openapi_parts import TASK_ID, TEXT, Json, in_json, in_path, operation
from tesp_api.tes.states import State

_MOMENT = "2026-01-31T12:00:00.000000+00:00"


class WebhookDelivery(BaseModel):
    """What became of telling one receiver of one state."""

    event_id: str = Field(description="As in the message's `webhook-id`.")
    to: str = Field(description="The host, or the receiver's name in the settings.")
    state: State = Field(description="What is told.")
    attempt: int = Field(description="The task's attempt; 0 before the first one.")
    time: str = Field(description="When it came into the state: RFC 3339, in UTC.", examples=[_MOMENT])
    fate: Literal["waiting", "delivered", "given_up"] = Field(description="What became of it so far.")
    tries: int = Field(description="How often it was sent.")
    said: str | None = Field(None, description="How the last try ended.", examples=["status 500"])
    done_at: str | None = Field(None, description="Since when it does not wait any more.")


class WebhookDeliveries(BaseModel):
    """What became of a task's webhooks, those of the last day at least."""

    id: str = Field(description="The task's.")
    webhooks: list[WebhookDelivery] = Field(description="The oldest first.")


class WebhookReceiver(BaseModel):
    """A receiver of the settings, as one server knows it."""

    name: str = Field(description="Its name.")
    place: str = Field(description="Scheme and host of its URL.")
    states: list[State] = Field(description="Of which it is told; empty: of all.")
    of: list[Literal["tasks", "runs"]] = Field(description="Of what it is told.")
    tags: list[str] = Field(description="What must be among the tags.")
    waiting: int = Field(description="How much waits for it.")
    failures: int = Field(description="How many tries have failed since the last that did not.")
    said: str | None = Field(None, description="How the last try ended.")


class WebhookReceivers(BaseModel):
    """Who is told by the settings."""

    receivers: list[WebhookReceiver] = Field(description="In the order of the settings.")
    waiting_of_tasks: int = Field(description="How much waits for webhooks that tasks have named.")


class WebhookTest(BaseModel):
    """How a test message was taken."""

    name: str = Field(description="The receiver's.")
    delivered: bool = Field(description="Whether it was taken.")
    said: str = Field(description="How it ended.", examples=["status 204"])


WEBHOOK_ANSWERS: tuple[type[BaseModel], ...] = (WebhookDeliveries, WebhookReceivers, WebhookTest)


def webhook_paths() -> Json:
    """The operations by path and method."""
    deliveries = operation(
        "ReadWebhooks",
        ("Extensions", "What became of a task's webhooks", "For its owner, of the webhook that it names."),
        in_json("What became of them.", "WebhookDeliveries"),
        "404 429 503 default",
        parameters=[TASK_ID],
    )
    receivers = operation(
        "ListWebhooks",
        ("Extensions", "Who is told by webhook", "The receivers of the settings; for admins."),
        in_json("The receivers.", "WebhookReceivers"),
        "429 503 default",
    )
    test = operation(
        "TestWebhook",
        ("Extensions", "Send a test message", "To a receiver of the settings, once; for admins."),
        in_json("How it was taken.", "WebhookTest"),
        "404 429 503 default",
        parameters=[in_path("name", TEXT, "The receiver's name.")],
    )
    return {
        "/tesp/v1/tasks/{id}/webhooks": {"get": deliveries},
        "/tesp/v1/webhooks": {"get": receivers},
        "/tesp/v1/webhooks/{name}/test": {"post": test},
    }
