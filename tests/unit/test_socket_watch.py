"""The sockets that libcurl waits for: those of kept connections rest, and are not waited for."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pycurl
import pytest

from datasync.services.storage.s3.loop import SocketWatch


@pytest.fixture
def watch() -> Iterator[SocketWatch]:
    with closing(SocketWatch()) as watch:
        yield watch


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_socket_that_rests_is_waited_for_again(
    watch: SocketWatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    for _ in range(3):
        watch.watch(ours.fileno(), pycurl.POLL_IN)
        theirs.send(b"x")
        assert watch.wait(5.0) == [(ours.fileno(), pycurl.CSELECT_IN)]
        ours.recv(1)
        watch.watch(ours.fileno(), pycurl.POLL_REMOVE)


def test_the_end_of_a_socket_that_rests_is_seen_once_and_told_to_nobody(
    watch: SocketWatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    watch.watch(ours.fileno(), pycurl.POLL_IN)
    watch.watch(ours.fileno(), pycurl.POLL_REMOVE)
    theirs.close()
    assert watch.wait(5.0) == []  # because of the end, not of the time
    assert ours.fileno() not in watch._known
    watch.watch(ours.fileno(), pycurl.POLL_IN)
    assert watch.wait(5.0) == [(ours.fileno(), pycurl.CSELECT_IN)]


def test_the_number_of_a_closed_socket_may_be_that_of_another_one(
    watch: SocketWatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, _ = pair
    number = ours.fileno()
    watch.watch(number, pycurl.POLL_IN)
    watch.watch(number, pycurl.POLL_REMOVE)
    one, other = socket.socketpair()
    with one, other:
        os.dup2(one.fileno(), number)  # closes what was there
        other.send(b"x")
        watch.watch(number, pycurl.POLL_IN)
        assert watch.wait(5.0) == [(number, pycurl.CSELECT_IN)]
