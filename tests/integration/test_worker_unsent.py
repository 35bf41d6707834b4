"""A server that reads slowly, while the system holds much that was sent: it is not silent, it is slow."""

import fcntl
import resource
import socket
import threading
import time

import pytest

from tesp_api.worker.transfer.unsent import wait_until_sent

LARGE = b"x" * 2_000_000
STALL_S = 1.0


def connected() -> tuple[socket.socket, socket.socket]:
    """A connection whose reader has a small buffer, and whose sender has a large one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sender = socket.create_connection(listener.getsockname())
        reader, _ = listener.accept()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    return sender, reader


def fill(sender: socket.socket) -> int:
    """Send as much as the system takes; how much that is."""
    sender.setblocking(False)
    sent = 0
    try:
        while sent < len(LARGE):
            sent += sender.send(LARGE[sent:])
    except BlockingIOError:
        pass
    sender.settimeout(STALL_S)
    return sent


def test_it_waits_for_longer_than_a_stall_while_the_other_side_reads() -> None:
    sender, reader = connected()
    with sender, reader:
        sent = fill(sender)

        def read_slowly() -> None:
            got = 0
            while got < sent:
                got += len(reader.recv(sent // 8)) or sent
                time.sleep(STALL_S / 4)

        thread = threading.Thread(target=read_slowly)
        thread.start()
        wait_until_sent(sender, STALL_S)
        thread.join()


def test_it_gives_up_on_a_side_that_reads_nothing() -> None:
    sender, reader = connected()
    with sender, reader:
        fill(sender)
        with pytest.raises(socket.timeout, match="took nothing"):
            wait_until_sent(sender, 0.2)


def test_a_process_may_have_many_descriptors() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], min(4096, limits[1])), limits[1]))
    sender, reader = connected()
    high = fcntl.fcntl(sender.fileno(), fcntl.F_DUPFD, 2000)
    try:
        with sender, reader, socket.socket(fileno=high) as far:
            fill(far)
            with pytest.raises(socket.timeout, match="took nothing"):
                wait_until_sent(far, 0.2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_an_answer_ends_the_wait() -> None:
    sender, reader = connected()
    with sender, reader:
        fill(sender)
        reader.sendall(b"HTTP/1.1 507 Insufficient Storage\r\n\r\n")
        wait_until_sent(sender, 30.0)
        assert sender.recv(100).startswith(b"HTTP/1.1 507")


def test_what_is_taken_at_once_is_not_waited_for() -> None:
    sender, reader = connected()
    with sender, reader:
        fill(sender)
        thread = threading.Thread(target=lambda: [None for _ in iter(lambda: reader.recv(1 << 20), b"")])
        thread.start()
        began_at = time.monotonic()
        wait_until_sent(sender, 30.0)  # nothing is ever said back, as on a data connection of FTP
        assert time.monotonic() - began_at < 15
        sender.shutdown(socket.SHUT_WR)
        thread.join()
