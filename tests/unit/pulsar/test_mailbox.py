from tesp_api.pulsar.mailbox import MemoryMailbox


async def test_a_full_mailbox_forgets_the_job_that_was_silent_longest() -> None:
    mailbox = MemoryMailbox(most_bytes=10)
    await mailbox.put("old", "heartbeat", b"1234")
    await mailbox.put("new", "heartbeat", b"1234")
    await mailbox.put("old", "heartbeat", b"123456")  # which takes the place of the one before
    assert await mailbox.get("new", "heartbeat") == b"1234"
    await mailbox.put("old", "events.ndjson", b"1")
    assert await mailbox.get("new", "heartbeat") is None
    assert await mailbox.get("old", "heartbeat") == b"123456"


async def test_what_is_dropped_makes_room() -> None:
    mailbox = MemoryMailbox(most_bytes=10)
    await mailbox.put("kept", "heartbeat", b"1234")
    for _ in range(3):
        await mailbox.put("gone", "heartbeat", b"1234")
        await mailbox.drop("gone", "heartbeat")
        await mailbox.put("gone", "events.ndjson", b"1234")
        await mailbox.drop("gone")
    assert await mailbox.get("kept", "heartbeat") == b"1234"
