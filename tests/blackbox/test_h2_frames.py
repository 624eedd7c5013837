# SPDX-License-Identifier: MIT
"""RFC 9113 in raw frames, rule by rule: the preface, frames as such, the states of streams, DATA, HEADERS, PRIORITY and
RST_STREAM."""
from h2case import *


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
def what_crossed_a_reset_of_ours_is_ignored_whichever_end_of_the_ring_it_is(c):
    closed_stream(c)
    for stream in range(3, 90, 2):
        c.headers(stream, post_head(('content-length', '1')), END_HEADERS)
        c.send(frame(DATA, 0, stream, b'xy'))
        c.refused_stream(stream, PROTOCOL_ERROR)
        c.send(frame(DATA, 0, stream, b'on its way'))
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
    check_eq(server().job(id)['id'], id)


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


if __name__ == '__main__':
    run_cases()
