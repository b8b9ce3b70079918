"""Events are contract: who publishes, who subscribes, and that every subscriber can receive what names it."""

from __future__ import annotations

from typing import Any

import pytest
from azora.policy.v1 import policy_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from services.compiler.contract import Contract, contract_of, load_contract
from services.compiler.envoy.mesh import callers
from services.compiler.events import check_events, check_webhooks, events_page
from services.shared.descriptors import DESCRIPTORS
from services.shared.events import EventType, WebhookEvent, declared_events, events_of, publishers_to
from services.shared.inbox import Inbox
from services.shared.outbox import Outbox
from services.shared.policy import PolicyError

RECEIVE = "/azora.education.v1.InternalService/ReceiveEvents"
REFUNDED = EventType("azora.payment.v1.PaymentRefunded", ("education",), WebhookEvent("payment.refunded", ("user_id",)))


def changed(change: Any) -> tuple[Contract, tuple[EventType, ...]]:
    """Return today's contract and events after `change` was made to the file of Payment's events."""
    descriptors = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    (file,) = (file for file in descriptors.file if file.name == "azora/payment/v1/events.proto")
    change(file)
    return contract_of(descriptors), events_of(descriptors)


def _subscribe(*subscribers: str) -> Any:
    def change(file: Any) -> None:
        file.message_type[0].options.Extensions[policy_pb2.event].subscribers[:] = subscribers

    return change


def _move(file: Any) -> None:
    file.package = "azora.nobody.v1"


def test_what_is_declared_can_be_delivered() -> None:
    check_events(load_contract(), declared_events())
    check_webhooks(load_contract(), declared_events())
    assert REFUNDED in declared_events()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_subscribe("education", "auth"), "names auth, which has no InternalService/ReceiveEvents"),
        (_subscribe("nobody"), "names nobody, which has no InternalService/ReceiveEvents"),
        (_move, "azora.nobody.v1.PaymentCompleted is an event, and no service serves its package"),
    ],
)
def test_what_cannot_be_delivered_does_not_compile(change: Any, complaint: str) -> None:
    with pytest.raises(PolicyError, match=complaint):
        check_events(*changed(change))


def _webhook(name: str, *user_fields: str) -> Any:
    def change(file: Any) -> None:
        (refunded,) = (message for message in file.message_type if message.name == "PaymentRefunded")
        webhook = refunded.options.Extensions[policy_pb2.event].webhook
        webhook.type, webhook.user_fields[:] = name, user_fields

    return change


def _twin(file: Any) -> None:
    twin = file.message_type.add()
    twin.CopyFrom(file.message_type[0])
    twin.name = "Twin"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_webhook("PaymentRefunded"), "has the webhook type 'PaymentRefunded', which must be like noun.verb"),
        (_webhook(""), "has the webhook type '', which must be like noun.verb"),
        (_webhook("payment.refunded", "payer"), "names users by payer, which is no string field of it"),
        (_webhook("payment.refunded", "in_full"), "names users by in_full, which is no string field of it"),
        (_twin, "has the webhook type of azora.payment.v1."),
    ],
)
def test_what_a_webhook_cannot_carry_does_not_compile(change: Any, complaint: str) -> None:
    with pytest.raises(PolicyError, match=complaint):
        check_webhooks(*changed(change))


def test_webhooks_carry_the_events_of_the_service_that_has_webhooks() -> None:
    elsewhere = EventType("azora.education.v1.Course", (), WebhookEvent("course.published", ()))
    with pytest.raises(PolicyError, match="education has no WebhookService/CreateWebhook"):
        check_webhooks(load_contract(), [elsewhere])


def test_publishers_alone_may_deliver() -> None:
    policy = load_contract().policies[RECEIVE]
    assert policy.services == publishers_to("education", declared_events()) == {"auth", "payment"}
    assert policy.internal
    assert callers(policy) == ("auth", "payment")


def test_the_page_names_every_event_and_its_fields() -> None:
    page = events_page(load_contract())
    assert "| `azora.payment.v1.PaymentRefunded` | payment | education | `payment.refunded` | `user_id` |" in page
    assert "| `in_full` | bool |" in page


@pytest.mark.parametrize(("service", "missing"), [("education", "PaymentRefunded"), ("payment", "UserRegistered")])
def test_an_inbox_handles_exactly_what_the_contract_subscribes_to(service: str, missing: str) -> None:
    database: Any = None
    with pytest.raises(ValueError, match=missing):
        Inbox(service, database, [])
    assert not any("auth" in event.subscribers for event in declared_events())
    Inbox("auth", database, [])


def test_an_outbox_encodes_exactly_what_the_contract_declares() -> None:
    with pytest.raises(ValueError, match=r"payment: .* differ in .*PaymentRefunded"):
        Outbox("payment", {})
    with pytest.raises(ValueError, match=r"education: .* differ in EventType"):
        Outbox("education", {EventType: lambda _: _})
    Outbox("education", {})
