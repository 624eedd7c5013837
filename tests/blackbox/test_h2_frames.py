# SPDX-License-Identifier: MIT
"""RFC 9113 and RFC 7541, rule by rule, in raw frames. Each case has a connection of its own; what is refused is refused with
the code the RFC names, and the server answers others afterwards."""
from weirtest import *
from h2wire import *

import functools

JOBS = '/v1/queues/frames/jobs'
server = None


def case(*pairs, auto=True):
    """A test with a connection `c` to the one server."""
    def register(fn):
        @functools.wraps(fn)
        def run():
            global server
            if server is None:
                server = Weir('--store', 'mem').__enter__()
            with H2(server.port, *pairs, auto=auto) as c:
                fn(c)
            with H2(server.port) as c:
                c.request(1)
                check_eq(c.answer(1).status, 200)
        test(run)
        return fn
    return register


def post_head(*more):
    return head('POST', JOBS, *more)


def open_post(c, stream=1):
    """A request whose body is still to come."""
    c.headers(stream, post_head(), END_HEADERS)


def closed_stream(c, stream=1):
    c.request(stream)
    check_eq(c.answer(stream).status, 200)


# ---- §3.4, §4: preface and frames ----

@case()
def the_preface_gets_settings_first(c):
    f = c.next()
    check_eq((f.type, f.flags & ACK, f.stream), (SETTINGS, 0, 0))
    check(c.settings[MAX_CONCURRENT_STREAMS] == 100 and c.settings[MAX_HEADER_LIST_SIZE] == 32768, c.settings)


@test
def a_preface_that_comes_byte_by_byte_is_one():
    with Weir('--store', 'mem') as w, H2(w.port, preface=False) as c:
        for b in PREFACE + frame(SETTINGS, 0, 0):
            c.send(bytes([b]))
            time.sleep(0.002)
        c.request(1)
        check_eq(c.answer(1).status, 200)


@test
def a_preface_that_goes_wrong_is_refused():
    with Weir('--store', 'mem') as w, H2(w.port, preface=False) as c:
        c.send(b'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n')
        c.sock.settimeout(LIMIT)
        got = b''
        while d := c.sock.recv(4096):
            got += d
        check(got.startswith(b'HTTP/1.1 505') or got.startswith(b'HTTP/1.1 400'), got)


@test
def who_agreed_on_h2_gets_no_other_answer():
    with Weir('--store', 'mem', '--tls-self-signed') as w, H2(w.port, tls=True, preface=False) as c:
        c.send(b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
        check_eq(c.sock.recv(100), b'')


@test
def who_speaks_no_http_gets_no_answer():
    with Weir('--store', 'mem') as w, w.raw() as r:
        r.send('INVALID CONNECTION PREFACE\r\n\r\n')
        check_eq(r.read_all(), b'')


@test
def a_preface_without_settings_is_refused():
    with Weir('--store', 'mem') as w, H2(w.port, preface=False) as c:
        c.send(PREFACE + frame(HEADERS, END_STREAM | END_HEADERS, 1, block(head())))
        c.refused(PROTOCOL_ERROR)


@case()
def a_frame_of_unknown_type_is_ignored(c):
    c.send(frame(0xbe, 0xff, 0, b'whatever'), frame(0xbe, 0, 7, b''))
    c.ping()


@case()
def unknown_flags_are_ignored(c):
    c.send(frame(PING, 0xfe, 0, b'12345678'))
    c.wait(lambda: c.log and c.log[-1].type == PING and c.log[-1].flags & ACK)


@case()
def the_reserved_bit_is_ignored(c):
    c.send(frame(PING, 0, 0x80000000, b'12345678'))
    c.wait(lambda: c.log and c.log[-1].type == PING and c.log[-1].flags & ACK)


@case()
def a_frame_of_the_greatest_size_is_taken(c):
    open_post(c)
    c.send(frame(DATA, END_STREAM, 1, b'x' * 16384))
    check_eq(c.answer(1).status, 202)


@case()
def data_beyond_the_frame_size_is_refused(c):
    open_post(c)
    c.send(frame(DATA, END_STREAM, 1, b'x' * 16385))
    c.refused_stream(1, FRAME_SIZE_ERROR)


@case()
def headers_beyond_the_frame_size_are_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block(head() + [('x', 'y' * 16384)])))
    c.refused(FRAME_SIZE_ERROR)


@case()
def a_head_that_cannot_be_decoded_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, b'\x00\x0a\xff\xff'))
    c.refused(COMPRESSION_ERROR)


@case()
def priority_inside_of_a_head_is_refused(c):
    c.send(frame(HEADERS, END_STREAM, 1, block(head())), frame(PRIORITY, 0, 1, bytes(4) + b'\xff'),
           frame(CONTINUATION, END_HEADERS, 1, block([('a', 'b')])))
    c.refused(PROTOCOL_ERROR)


@case()
def another_streams_head_inside_of_a_head_is_refused(c):
    c.send(frame(HEADERS, END_STREAM, 1, block(head())), frame(HEADERS, END_STREAM | END_HEADERS, 3, block(head())))
    c.refused(PROTOCOL_ERROR)


@case()
def an_unknown_frame_inside_of_a_head_is_refused(c):
    c.send(frame(HEADERS, END_STREAM, 1, block(head())), frame(0xbe, 0, 1, b'1234'),
           frame(CONTINUATION, END_HEADERS, 1, block([('a', 'b')])))
    c.refused(PROTOCOL_ERROR)


# ---- §5.1: states ----

@case()
def data_on_an_idle_stream_is_refused(c):
    c.send(frame(DATA, END_STREAM, 1, b'x'))
    c.refused(PROTOCOL_ERROR, STREAM_CLOSED)


@case()
def a_reset_of_an_idle_stream_is_refused(c):
    c.send(frame(RST_STREAM, 0, 1, struct.pack('>I', CANCEL)))
    c.refused(PROTOCOL_ERROR)


@case()
def a_window_update_of_an_idle_stream_is_refused(c):
    c.send(c.window(1, 100))
    c.refused(PROTOCOL_ERROR)


@case()
def a_continuation_on_an_idle_stream_is_refused(c):
    c.send(frame(CONTINUATION, END_HEADERS, 1, block(head())))
    c.refused(PROTOCOL_ERROR)


@case()
def data_behind_the_end_of_a_stream_is_refused(c):
    c.request(1, 'GET', '/v1/subjects/half/events')
    c.wait(lambda: 1 in c.answers)
    c.send(frame(DATA, END_STREAM, 1, b'x'))
    c.refused_stream(1, STREAM_CLOSED)


@case()
def headers_behind_the_end_of_a_stream_are_refused(c):
    c.request(1, 'GET', '/v1/subjects/half/events')
    c.wait(lambda: 1 in c.answers)
    c.headers(1, [('x', 'y')])
    c.refused_stream(1, STREAM_CLOSED)


@case()
def a_continuation_behind_the_end_of_a_stream_is_refused(c):
    c.request(1, 'GET', '/v1/subjects/half/events')
    c.wait(lambda: 1 in c.answers)
    c.send(frame(CONTINUATION, END_HEADERS, 1, block([('x', 'y')])))
    c.refused(STREAM_CLOSED, PROTOCOL_ERROR)


@case()
def data_behind_a_reset_is_ignored_or_refused(c):
    open_post(c)
    c.send(frame(RST_STREAM, 0, 1, struct.pack('>I', CANCEL)), frame(DATA, END_STREAM, 1, b'x'))
    c.send(frame(PING, 0, 0, b'12345678'))
    while (f := c.next()) is not None and f.type != GOAWAY and not (f.type == PING and f.flags & ACK):
        check(f.type != RST_STREAM or f.code == STREAM_CLOSED, f)
    check(f is not None and (f.type == PING or f.code == STREAM_CLOSED), f)


@case()
def headers_behind_a_reset_are_refused(c):
    open_post(c)
    c.send(frame(RST_STREAM, 0, 1, struct.pack('>I', CANCEL)))
    c.ping()
    c.headers(1, post_head())
    c.refused_stream(1, STREAM_CLOSED)


@case()
def data_on_a_closed_stream_is_refused(c):
    closed_stream(c)
    c.send(frame(DATA, END_STREAM, 1, b'x'))
    c.refused_stream(1, STREAM_CLOSED)


@case()
def headers_on_a_closed_stream_are_refused(c):
    closed_stream(c)
    c.headers(1, head())
    c.refused(STREAM_CLOSED, PROTOCOL_ERROR)


@case()
def a_continuation_on_a_closed_stream_is_refused(c):
    closed_stream(c)
    c.send(frame(CONTINUATION, END_HEADERS, 1, block([('x', 'y')])))
    c.refused(STREAM_CLOSED, PROTOCOL_ERROR)


@case()
def frames_that_may_cross_a_closed_stream_are_ignored(c):
    closed_stream(c)
    c.send(frame(PRIORITY, 0, 1, bytes(4) + b'\x10'), c.window(1, 10), frame(RST_STREAM, 0, 1, struct.pack('>I', CANCEL)))
    c.ping()


@case()
def an_even_stream_is_refused(c):
    c.headers(2, head())
    c.refused(PROTOCOL_ERROR)


@case()
def a_stream_below_one_that_was_used_is_refused(c):
    c.request(5)
    c.answer(5)
    c.headers(3, head())
    c.refused(PROTOCOL_ERROR, STREAM_CLOSED)


@case()
def streams_beyond_the_limit_are_refused(c):
    c.wait(lambda: c.settings)
    n = c.settings[MAX_CONCURRENT_STREAMS]
    c.ping()
    for i in range(n + 1):
        open_post(c, 2 * i + 1)
    c.refused_stream(2 * n + 1, REFUSED_STREAM, PROTOCOL_ERROR)
    check(all(a.reset is None for s, a in c.answers.items() if s != 2 * n + 1))


@case()
def a_hundred_streams_at_once_are_answered(c):
    c.send(*[frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, block(head())) for i in range(100)])
    for i in range(100):
        check_eq(c.answer(2 * i + 1).status, 200)


# ---- §5.3: priorities are read and left alone ----

@case()
def a_head_with_priority_is_answered(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, bytes(4) + b'\x10' + block(head())))
    check_eq(c.answer(1).status, 200)


@case()
def priority_of_an_idle_stream_is_taken(c):
    c.send(frame(PRIORITY, 0, 9, struct.pack('>IB', 3, 7)))
    c.ping()


@case()
def a_head_that_depends_on_itself_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, struct.pack('>IB', 1, 7) + block(head())))
    c.refused_stream(1, PROTOCOL_ERROR)


# ---- §6.1: DATA ----

@case()
def data_on_stream_zero_is_refused(c):
    c.send(frame(DATA, END_STREAM, 0, b'x'))
    c.refused(PROTOCOL_ERROR)


@case()
def padding_of_data_is_taken_off(c):
    open_post(c)
    c.send(frame(DATA, PADDED | END_STREAM, 1, b'\x05hello' + bytes(5)))
    a = c.answer(1)
    check_eq(a.status, 202)
    id = a.header('location').rsplit('/', 1)[1]
    check_eq(server.job(id)['id'], id)


@case()
def padding_longer_than_data_is_refused(c):
    open_post(c)
    c.send(frame(DATA, PADDED | END_STREAM, 1, b'\x06hello'))
    c.refused(PROTOCOL_ERROR)


# ---- §6.2: HEADERS ----

@case()
def headers_on_stream_zero_are_refused(c):
    c.headers(0, head())
    c.refused(PROTOCOL_ERROR)


@case()
def padding_of_headers_is_taken_off(c):
    c.send(frame(HEADERS, PADDED | END_STREAM | END_HEADERS, 1, b'\x04' + block(head()) + bytes(4)))
    check_eq(c.answer(1).status, 200)


@case()
def padding_longer_than_headers_is_refused(c):
    b = block(head())
    c.send(frame(HEADERS, PADDED | END_STREAM | END_HEADERS, 1, bytes([len(b) + 1]) + b))
    c.refused(PROTOCOL_ERROR)


# ---- §6.3, §6.4: PRIORITY, RST_STREAM ----

@case()
def priority_of_stream_zero_is_refused(c):
    c.send(frame(PRIORITY, 0, 0, bytes(5)))
    c.refused(PROTOCOL_ERROR)


def answered_early(c, *more):
    c.headers(1, head('POST', '/nowhere', *more), END_HEADERS)
    c.wait(lambda: 1 in c.answers and c.answers[1].ended)


@case()
def what_follows_an_early_answer_is_judged_as_ever(c):
    answered_early(c, ('content-length', '3'))
    c.send(frame(DATA, END_STREAM, 1, b'four'))
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def an_early_answer_to_a_request_that_does_not_end_is_followed_by_a_reset_without_error(c):
    answered_early(c)
    c.refused_stream(1, NO_ERROR)


@case()
def priority_on_itself_is_refused_also_in_pieces(c):
    c.request(1)
    c.answer(1)
    for b in frame(PRIORITY, 0, 3, struct.pack('>IB', 1, 7)) + frame(PRIORITY, 0, 5, struct.pack('>IB', 5, 7)):
        c.send(bytes([b]))
    c.refused(PROTOCOL_ERROR)


@case()
def priority_of_another_length_is_refused(c):
    c.send(frame(PRIORITY, 0, 1, bytes(4)))
    c.refused_stream(1, FRAME_SIZE_ERROR)


@case()
def a_reset_of_stream_zero_is_refused(c):
    c.send(frame(RST_STREAM, 0, 0, struct.pack('>I', CANCEL)))
    c.refused(PROTOCOL_ERROR)


@case()
def a_reset_of_another_length_is_refused(c):
    open_post(c)
    c.send(frame(RST_STREAM, 0, 1, bytes(3)))
    c.refused(FRAME_SIZE_ERROR)


@case()
def a_reset_with_an_unknown_code_is_a_reset(c):
    open_post(c)
    c.send(frame(RST_STREAM, 0, 1, struct.pack('>I', 0xff)))
    c.ping()


# ---- §6.5: SETTINGS ----

@case(auto=False)
def settings_are_acknowledged(c):
    c.send(frame(SETTINGS, 0, 0, settings((MAX_CONCURRENT_STREAMS, 7))))
    c.wait(lambda: sum(f.type == SETTINGS and f.flags & ACK for f in c.log) == 2)


@case()
def an_acknowledgement_with_a_payload_is_refused(c):
    c.send(frame(SETTINGS, ACK, 0, settings((1, 1))))
    c.refused(FRAME_SIZE_ERROR)


@case()
def settings_of_a_stream_are_refused(c):
    c.send(frame(SETTINGS, 0, 1, settings((3, 10))))
    c.refused(PROTOCOL_ERROR)


@case()
def settings_of_a_length_that_is_no_multiple_of_six_are_refused(c):
    c.send(frame(SETTINGS, 0, 0, bytes(5)))
    c.refused(FRAME_SIZE_ERROR)


@case()
def enable_push_of_two_is_refused(c):
    c.send(frame(SETTINGS, 0, 0, settings((ENABLE_PUSH, 2))))
    c.refused(PROTOCOL_ERROR)


@case()
def a_window_beyond_31_bits_is_refused(c):
    c.send(frame(SETTINGS, 0, 0, settings((INITIAL_WINDOW_SIZE, 1 << 31))))
    c.refused(FLOW_CONTROL_ERROR)


@case()
def a_frame_size_below_16384_is_refused(c):
    c.send(frame(SETTINGS, 0, 0, settings((MAX_FRAME_SIZE, 16383))))
    c.refused(PROTOCOL_ERROR)


@case()
def a_frame_size_beyond_24_bits_is_refused(c):
    c.send(frame(SETTINGS, 0, 0, settings((MAX_FRAME_SIZE, 1 << 24))))
    c.refused(PROTOCOL_ERROR)


@case()
def an_unknown_setting_is_ignored(c):
    c.send(frame(SETTINGS, 0, 0, settings((0xff, 1))))
    c.ping()


@case(auto=False)
def of_a_setting_given_twice_the_last_holds(c):
    c.send(frame(SETTINGS, 0, 0, settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1))))
    c.request(1)
    c.wait(lambda: 1 in c.answers and c.answers[1].body)
    check_eq(len(c.answers[1].body), 1)


@case((HEADER_TABLE_SIZE, 0))
def a_client_without_a_table_is_answered(c):
    for i in range(3):
        c.request(2 * i + 1)
        check_eq(c.answer(2 * i + 1).status, 200)


# ---- §6.6 to §6.8: PUSH_PROMISE, PING, GOAWAY ----

@case()
def a_push_promise_is_refused(c):
    c.send(frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack('>I', 2) + block(head())))
    c.refused(PROTOCOL_ERROR)


@case()
def a_ping_comes_back_as_it_was(c):
    c.ping(b'\x00\xff weird')


@case()
def an_answer_to_no_ping_is_ignored(c):
    c.send(frame(PING, ACK, 0, b'unasked!'))
    c.ping()


@case()
def a_ping_of_a_stream_is_refused(c):
    c.send(frame(PING, 0, 1, bytes(8)))
    c.refused(PROTOCOL_ERROR)


@case()
def a_ping_of_another_length_is_refused(c):
    c.send(frame(PING, 0, 0, bytes(6)))
    c.refused(FRAME_SIZE_ERROR)


@case()
def a_goaway_of_a_stream_is_refused(c):
    c.send(frame(GOAWAY, 0, 1, bytes(8)))
    c.refused(PROTOCOL_ERROR)


@case()
def after_the_clients_goaway_what_it_asked_is_answered(c):
    c.request(1)
    c.send(frame(GOAWAY, 0, 0, struct.pack('>II', 0, NO_ERROR)))
    check_eq(c.answer(1).status, 200)


@case()
def a_goaway_with_an_unknown_code_is_one(c):
    c.request(1)
    c.send(frame(GOAWAY, 0, 0, struct.pack('>II', 0, 0xff)))
    check_eq(c.answer(1).status, 200)


# ---- §6.9: WINDOW_UPDATE and flow control ----

@case()
def an_increment_of_zero_is_refused(c):
    c.send(c.window(0, 0))
    c.refused(PROTOCOL_ERROR)


@case()
def a_streams_increment_of_zero_is_refused(c):
    open_post(c)
    c.send(c.window(1, 0))
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def a_window_update_of_another_length_is_refused(c):
    c.send(frame(WINDOW_UPDATE, 0, 0, bytes(3)))
    c.refused(FRAME_SIZE_ERROR)


@case()
def a_connections_window_beyond_31_bits_is_refused(c):
    c.send(c.window(0, 0x7fffffff), c.window(0, 0x7fffffff))
    c.refused(FLOW_CONTROL_ERROR)


@case()
def a_streams_window_beyond_31_bits_is_refused(c):
    open_post(c)
    c.send(c.window(1, 0x7fffffff), c.window(1, 0x7fffffff))
    c.refused_stream(1, FLOW_CONTROL_ERROR)


@case((INITIAL_WINDOW_SIZE, 1), auto=False)
def a_window_of_one_gets_one_byte(c):
    c.request(1)
    c.wait(lambda: 1 in c.answers and c.answers[1].body)
    check_eq(len(c.answers[1].body), 1)
    c.quiet()
    check_eq(len(c.answers[1].body), 1)
    c.send(c.window(1, 1))
    c.wait(lambda: len(c.answers[1].body) == 2)
    c.send(c.window(1, 1000))
    check_eq(c.answer(1).body, b'ok\n')


@case((INITIAL_WINDOW_SIZE, 0), auto=False)
def a_window_that_opens_by_settings_lets_bytes_go(c):
    c.request(1)
    c.wait(lambda: 1 in c.answers and c.answers[1].fields)
    c.quiet()
    check_eq(c.answers[1].body, b'')
    c.send(frame(SETTINGS, 0, 0, settings((INITIAL_WINDOW_SIZE, 2))))
    c.wait(lambda: len(c.answers[1].body) == 2)
    c.send(frame(SETTINGS, 0, 0, settings((INITIAL_WINDOW_SIZE, 3))))
    check_eq(c.answer(1).body, b'ok\n')


@case((INITIAL_WINDOW_SIZE, 3), auto=False)
def a_window_that_became_negative_has_to_be_filled_first(c):
    c.request(1, 'GET', '/')
    c.wait(lambda: 1 in c.answers and len(c.answers[1].body) == 3)
    c.send(frame(SETTINGS, 0, 0, settings((INITIAL_WINDOW_SIZE, 1))))
    c.send(c.window(1, 2))
    c.quiet()
    check_eq(len(c.answers[1].body), 3)
    c.send(c.window(1, 1))
    c.wait(lambda: len(c.answers[1].body) == 4)


@case((INITIAL_WINDOW_SIZE, 1 << 20), auto=False)
def a_connections_window_holds_all_streams_back(c):
    stream = 1
    while sum(len(a.body) for a in c.answers.values()) < 65535:
        c.request(stream, 'GET', '/openapi.json')
        c.quiet()
        stream += 2
        check(stream < 100, 'no end')
    c.quiet()
    check_eq(sum(len(a.body) for a in c.answers.values()), 65535)
    c.send(c.window(0, 1 << 20))
    for s in range(1, stream, 2):
        check_eq(c.answer(s).status, 200)


@case()
def an_upload_beyond_the_window_is_refused(c):
    c.wait(lambda: c.settings)
    c.headers(1, head('POST', '/nothing/here'), END_HEADERS)
    c.headers(3, head('POST', JOBS), END_HEADERS)
    window = c.settings[INITIAL_WINDOW_SIZE]
    c.auto = False
    # What a handler reads opens the window; so does the end of one that did not. A burst is faster.
    c.send(*[frame(DATA, 0, 3, bytes(16384)) for _ in range(8 * window // 16384)])
    c.refused_stream(3, FLOW_CONTROL_ERROR, NO_ERROR)


@case()
def an_upload_larger_than_the_window_goes_on_as_it_is_read(c):
    c.wait(lambda: c.settings)
    body, left, room = b'x' * 1000000, 1000000, c.settings[INITIAL_WINDOW_SIZE]
    c.headers(1, head('POST', JOBS, ('content-length', str(len(body)))), END_HEADERS)
    conn = 65535
    while left:
        n = min(16384, left, room, conn)
        if n > 0:
            c.send(frame(DATA, END_STREAM if n == left else 0, 1, body[:n]))
            left, room, conn = left - n, room - n, conn - n
            continue
        f = c.next()
        check(f is not None and f.type not in (RST_STREAM, GOAWAY), f)
        if f.type == WINDOW_UPDATE:
            n = struct.unpack('>I', f.payload)[0]
            room, conn = (room + n, conn) if f.stream else (room, conn + n)
    check_eq(c.answer(1).status, 202)


# ---- §6.10: CONTINUATION ----

@case()
def a_head_in_several_frames_is_one(c):
    b = block(head() + [('a', 'b'), ('c', 'd')])
    c.send(frame(HEADERS, END_STREAM, 1, b[:10]), frame(CONTINUATION, 0, 1, b[10:30]), frame(CONTINUATION, 0, 1),
           frame(CONTINUATION, END_HEADERS, 1, b[30:]))
    check_eq(c.answer(1).status, 200)


@case()
def a_continuation_behind_the_end_of_a_head_is_refused(c):
    open_post(c)
    c.send(frame(CONTINUATION, END_HEADERS, 1, block([('x', 'y')])))
    c.refused(PROTOCOL_ERROR)


@case()
def a_continuation_of_stream_zero_is_refused(c):
    c.send(frame(HEADERS, END_STREAM, 1, block(head())), frame(CONTINUATION, END_HEADERS, 0, b''))
    c.refused(PROTOCOL_ERROR)


@case()
def data_inside_of_a_head_is_refused(c):
    c.send(frame(HEADERS, 0, 1, block(post_head())), frame(DATA, END_STREAM, 1, b'x'))
    c.refused(PROTOCOL_ERROR)


@case()
def a_continuation_behind_data_is_refused(c):
    open_post(c)
    c.send(frame(DATA, 0, 1, b'x'), frame(CONTINUATION, END_HEADERS, 1, b''))
    c.refused(PROTOCOL_ERROR)


# ---- §8: requests ----

def malformed(name, fields, flags=END_STREAM | END_HEADERS):
    def run(c):
        c.headers(1, fields, flags)
        c.refused_stream(1, PROTOCOL_ERROR)
    run.__name__ = name
    case()(run)


malformed('an_upper_case_name_is_refused', head() + [('X-TEST', 'ok')])
malformed('an_unknown_pseudo_field_is_refused', [(':test', 'x')] + head())
malformed('a_status_in_a_request_is_refused', head() + [(':status', '200')])
malformed('a_pseudo_field_behind_others_is_refused', [(':method', 'GET'), (':scheme', 'http'), ('x', 'y'), (':path', '/')])
malformed('a_connection_field_is_refused', head() + [('connection', 'keep-alive')])
malformed('a_keep_alive_field_is_refused', head() + [('keep-alive', '1')])
malformed('an_upgrade_field_is_refused', head() + [('upgrade', 'h2c')])
malformed('a_proxy_connection_field_is_refused', head() + [('proxy-connection', 'close')])
malformed('a_transfer_encoding_is_refused', head('POST', JOBS, ('transfer-encoding', 'chunked')))
malformed('te_other_than_trailers_is_refused', head() + [('te', 'trailers, deflate')])
malformed('an_empty_path_is_refused', head(path=''))
malformed('a_head_without_method_is_refused', [(':scheme', 'http'), (':path', '/'), (':authority', 'x')])
malformed('a_head_without_scheme_is_refused', [(':method', 'GET'), (':path', '/'), (':authority', 'x')])
malformed('a_head_without_path_is_refused', [(':method', 'GET'), (':scheme', 'http'), (':authority', 'x')])
malformed('two_methods_are_refused', [(':method', 'GET')] + head())
malformed('two_schemes_are_refused', [(':scheme', 'http')] + head())
malformed('two_paths_are_refused', [(':path', '/')] + head())
malformed('a_newline_in_a_value_is_refused', head() + [('x', 'a\nb')])
malformed('a_nul_in_a_value_is_refused', head() + [('x', 'a\0b')])
malformed('a_space_before_a_value_is_refused', head() + [('x', ' b')])
malformed('a_colon_in_a_name_is_refused', head() + [('x:y', 'b')])
malformed('an_empty_name_is_refused', head() + [('', 'b')])
malformed('two_lengths_are_refused', head('POST', JOBS, ('content-length', '1'), ('content-length', '2')))
malformed('a_length_that_is_no_number_is_refused', head('POST', JOBS, ('content-length', '1x')))


@case()
def te_trailers_is_taken(c):
    c.request(1, 'GET', '/healthz', ('te', 'trailers'))
    check_eq(c.answer(1).status, 200)


@case()
def a_second_head_without_an_end_is_refused(c):
    open_post(c)
    c.headers(1, [('x', 'y')], END_HEADERS)
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def trailers_behind_a_body_are_taken(c):
    open_post(c)
    c.send(frame(DATA, 0, 1, b'payload'))
    c.headers(1, [('x-checksum', '1')])
    check_eq(c.answer(1).status, 202)


@case()
def a_pseudo_field_in_trailers_is_refused(c):
    open_post(c)
    c.send(frame(DATA, 0, 1, b'payload'))
    c.headers(1, [(':method', 'GET')])
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def less_data_than_the_length_says_is_refused(c):
    c.request(1, 'POST', JOBS, ('content-length', '5'), body=b'four')
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def more_data_than_the_length_says_is_refused(c):
    c.headers(1, post_head(('content-length', '5')), END_HEADERS)
    c.send(frame(DATA, 0, 1, b'123'), frame(DATA, END_STREAM, 1, b'456'))
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def a_length_without_data_is_refused(c):
    c.headers(1, post_head(('content-length', '5')))
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def connect_is_not_implemented(c):
    c.headers(1, [(':method', 'CONNECT'), (':authority', 'localhost:1')])
    a = c.answer(1)
    check(a.status in (400, 501) or a.reset is not None, a)


@case()
def a_foreign_host_beside_the_authority_is_refused(c):
    c.request(1, 'GET', '/healthz', ('host', 'elsewhere'))
    check_eq(c.answer(1).status, 400)


@case()
def a_host_without_an_authority_will_do(c):
    c.headers(1, [(':method', 'GET'), (':scheme', 'http'), (':path', '/healthz'), ('host', 'localhost')])
    check_eq(c.answer(1).status, 200)


@case()
def neither_host_nor_authority_is_refused(c):
    c.headers(1, [(':method', 'GET'), (':scheme', 'http'), (':path', '/healthz')])
    a = c.answer(1)
    check(a.status == 400 or a.reset == PROTOCOL_ERROR, a)


@case()
def head_gets_a_head(c):
    c.request(1, 'HEAD', '/healthz')
    a = c.answer(1)
    check_eq((a.status, a.body, a.header('content-length')), (200, b'', '3'))
    check(not any(f.type == DATA for f in c.log if f.stream == 1), c.log)


@case()
def too_long_a_head_is_told_so(c):
    b = block(head() + [('x' + str(i), 'y' * 1000) for i in range(40)])
    c.send(frame(HEADERS, END_STREAM, 1, b[:16000]), frame(CONTINUATION, 0, 1, b[16000:32000]),
           frame(CONTINUATION, END_HEADERS, 1, b[32000:]))
    check_eq(c.answer(1).status, 431)


@case()
def too_many_fields_are_told_so(c):
    c.request(1, 'GET', '/healthz', *[(f'x{i}', 'y') for i in range(101)])
    check_eq(c.answer(1).status, 431)


@case()
def too_long_a_body_is_told_so_before_it_comes(c):
    c.headers(1, post_head(('content-length', str(2 << 20))), END_HEADERS)
    a = c.answer(1)
    check_eq(a.status, 413)
    c.wait(lambda: a.reset is not None)
    check_eq(a.reset, NO_ERROR)


@case()
def expect_gets_100_and_then_its_answer(c):
    c.headers(1, post_head(('expect', '100-continue'), ('content-length', '2')), END_HEADERS)
    c.wait(lambda: 1 in c.answers and c.answers[1].interim)
    check_eq(dict(c.answers[1].interim[0])[':status'], '100')
    c.send(frame(DATA, END_STREAM, 1, b'ok'))
    check_eq(c.answer(1).status, 202)


# ---- RFC 7541 ----

@case()
def an_index_outside_of_the_tables_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, number(126, 7, 0x80) + block(head())))
    c.refused(COMPRESSION_ERROR)


@case()
def index_zero_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, b'\x80'))
    c.refused(COMPRESSION_ERROR)


@case()
def a_table_size_inside_of_a_block_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block(head()) + b'\x20'))
    c.refused(COMPRESSION_ERROR)


@case()
def a_table_larger_than_allowed_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, number(4097, 5, 0x20) + block(head())))
    c.refused(COMPRESSION_ERROR)


def huffman(name, value):
    def run(c):
        c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block(head()) + b'\x00\x01x' + value))
        c.refused(COMPRESSION_ERROR)
    run.__name__ = name
    case()(run)


huffman('huffman_padding_of_a_byte_is_refused', b'\x84\x49\x50\x9f\xff')
huffman('huffman_padding_of_zeros_is_refused', b'\x83\x49\x50\x90')
huffman('huffman_eos_in_a_string_is_refused', b'\x87\x49\x51\xff\xff\xff\xfa\x7f')


@case()
def an_integer_without_end_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, b'\xff' + b'\xff' * 12 + b'\x01'))
    c.refused(COMPRESSION_ERROR)


@test
def the_server_stops_clean_after_all_that():
    if server:
        server.__exit__(None, None, None)


if __name__ == '__main__':
    main()
