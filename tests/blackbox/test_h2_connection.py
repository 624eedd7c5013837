# SPDX-License-Identifier: MIT
"""RFC 9113 in raw frames, rule by rule: what concerns the connection (SETTINGS, PUSH_PROMISE, PING, GOAWAY), and flow control."""
from h2case import *


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


if __name__ == '__main__':
    run_cases()
