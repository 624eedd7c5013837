# SPDX-License-Identifier: MIT
"""Cases of HTTP/2, each on a connection of its own to one server: what is refused is refused with the code the RFC names, and the
server answers others afterwards."""
import functools

from weirtest import *
from h2wire import *

JOBS = '/v1/queues/frames/jobs'
running = []


def server():
    """The one of this file's cases."""
    if not running:
        running.append(Weir('--store', 'mem').__enter__())
    return running[0]


def case(*pairs, auto=True):
    """A test with a connection `c` to the one server."""
    def register(fn):
        @functools.wraps(fn)
        def run():
            with H2(server().port, *pairs, auto=auto) as c:
                fn(c)
            with H2(server().port) as c:
                c.request(1)
                check_eq(c.answer(1).status, 200)
        test(run)
        return fn
    return register


def run_cases():
    """All of a file, and that the server has come through them."""
    @test
    def the_server_stops_clean_after_all_that():
        if running:
            running.pop().__exit__(None, None, None)
    main()


def post_head(*more):
    return head('POST', JOBS, *more)


def open_post(c, stream=1):
    """A request whose body is still to come."""
    c.headers(stream, post_head(), END_HEADERS)


def closed_stream(c, stream=1):
    c.request(stream)
    check_eq(c.answer(stream).status, 200)
