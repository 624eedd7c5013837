# SPDX-License-Identifier: MIT
"""Malformed and hostile requests: each gets the status that RFC 9110 and RFC 9112 ask for, the connection closes where
framing is in doubt, and nothing behind a refused request is ever taken for a second one.

Each request is followed by a canary, a complete GET. A connection that must close gives one answer and then its end; one
that may go on answers the canary too.
"""
from weirtest import *

import random

CANARY = b'GET /healthz?canary HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
JOBS = b'/v1/queues/hostile/jobs'


def get(*lines, target=b'/healthz', version=b'HTTP/1.1', method=b'GET'):
    return b'\r\n'.join([method + b' ' + target + b' ' + version, *lines, b'', b''])


def post(*lines, body=b''):
    return b'\r\n'.join([b'POST ' + JOBS + b' HTTP/1.1', b'Host: localhost', *lines, b'', b'']) + body


def chunked(body):
    return post(b'Transfer-Encoding: chunked', body=body)


def put_json(body):
    return b'\r\n'.join([b'PUT /v1/queues/hostile HTTP/1.1', b'Host: localhost', b'Content-Type: application/json',
                         b'Content-Length: %d' % len(body), b'', body])


H = b'Host: localhost'
CLOSES, GOES_ON = True, False

# name, the bytes, the status, does the connection close
TABLE = [
    # The request line.
    ('no_version', b'GET /healthz\r\nHost: localhost\r\n\r\n', 400, CLOSES),
    ('http_09', b'GET /healthz\r\n', 400, CLOSES),
    ('two_spaces_before_target', b'GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n', 400, CLOSES),
    ('two_spaces_before_version', b'GET /healthz  HTTP/1.1\r\nHost: localhost\r\n\r\n', 400, CLOSES),
    ('space_at_the_end_of_the_line', b'GET /healthz HTTP/1.1 \r\nHost: localhost\r\n\r\n', 400, CLOSES),
    ('tab_in_the_line', b'GET\t/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n', 400, CLOSES),
    ('space_before_the_method', b' GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n', 400, CLOSES),
    ('two_empty_lines_before', b'\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n', 400, CLOSES),
    ('lower_case_version', get(H, version=b'http/1.1'), 400, CLOSES),
    ('version_with_more_digits', get(H, version=b'HTTP/1.10'), 400, CLOSES),
    ('version_without_minor', get(H, version=b'HTTP/1'), 400, CLOSES),
    ('another_protocol', get(H, version=b'SHTTP/1.1'), 400, CLOSES),
    ('http_3', get(H, version=b'HTTP/3.0'), 505, CLOSES),
    ('http_0_9_in_words', get(H, version=b'HTTP/0.9'), 505, CLOSES),
    ('method_with_a_bad_byte', get(H, method=b'G(T'), 400, CLOSES),
    ('method_too_long', get(H, method=b'A' * 33), 400, CLOSES),
    ('empty_method', get(H, method=b''), 400, CLOSES),
    ('unknown_method', get(H, method=b'BREW'), 501, GOES_ON),
    ('lower_case_method', get(H, method=b'get'), 501, GOES_ON),
    ('rtsp_method', get(H, method=b'SETUP'), 501, GOES_ON),
    ('icecast_method', get(H, method=b'SOURCE'), 501, GOES_ON),
    ('connect', get(H, method=b'CONNECT', target=b'example.org:443'), 501, CLOSES),
    ('trace', get(H, method=b'TRACE'), 501, CLOSES),
    ('tls_hello', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(32), 400, CLOSES),
    ('binary', bytes(range(256)), 400, CLOSES),
    # The target.
    ('target_too_long', get(H, target=b'/' + b'a' * 9000), 414, CLOSES),
    ('target_without_slash', get(H, target=b'healthz'), 400, CLOSES),
    ('target_with_nul', get(H, target=b'/health\0z'), 400, CLOSES),
    ('target_with_high_byte', get(H, target=b'/h\xc3\xa4'), 400, CLOSES),
    ('target_with_fragment', get(H, target=b'/healthz#top'), 400, CLOSES),
    ('target_with_del', get(H, target=b'/health\x7fz'), 400, CLOSES),
    ('star_for_get', get(H, target=b'*'), 400, CLOSES),
    ('authority_for_get', get(H, target=b'x:80'), 400, CLOSES),
    ('absolute_without_authority', get(H, target=b'http:///healthz'), 400, CLOSES),
    ('absolute_with_user', get(H, target=b'http://root@localhost/healthz'), 400, CLOSES),
    ('absolute_of_another_host', get(H, target=b'http://evil/healthz'), 400, CLOSES),
    ('absolute_of_another_scheme', get(H, target=b'ftp://x/healthz'), 400, CLOSES),
    ('absolute', get(H, target=b'http://localhost/healthz'), 200, GOES_ON),
    ('climbing_path', get(H, target=b'/../../etc/passwd'), 400, CLOSES),
    ('climbing_path_in_disguise', get(H, target=b'/v1/%2e%2e/%2E%2e/%2e./etc/passwd'), 400, CLOSES),
    ('dots_that_stay_inside', get(H, target=b'/v1/x/../../healthz'), 200, GOES_ON),
    ('nul_in_an_escape', get(H, target=b'/healthz%00.html'), 400, CLOSES),
    ('bad_escape', get(H, target=b'/healthz%zz'), 400, CLOSES),
    ('cut_escape', get(H, target=b'/healthz%2'), 400, CLOSES),
    ('bad_escape_in_the_query', get(H, target=b'/healthz?a=%g1'), 400, CLOSES),
    ('nul_in_the_query', get(H, target=b'/healthz?a=%00'), 400, CLOSES),
    ('too_many_segments', get(H, target=b'/a' * 100), 414, CLOSES),
    ('unknown_path', get(H, target=b'/etc/passwd.bak'), 404, GOES_ON),
    ('escaped_slash_is_no_slash', get(H, target=b'/v1%2fjobs%2fx'), 404, GOES_ON),
    ('wrong_method', get(H, method=b'DELETE'), 405, GOES_ON),
    # Lines.
    ('bare_lf', b'GET /healthz HTTP/1.1\nHost: localhost\n\n', 400, CLOSES),
    ('bare_lf_in_the_middle', b'GET /healthz HTTP/1.1\r\nHost: localhost\nA: b\r\n\r\n', 400, CLOSES),
    ('bare_lf_at_the_end', b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\n', 400, CLOSES),
    ('bare_cr_in_a_value', get(H, b'A: b\rc: d'), 400, CLOSES),
    ('bare_cr_at_the_end', b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\r\n', 400, CLOSES),
    ('cr_cr_lf', b'GET /healthz HTTP/1.1\r\r\nHost: localhost\r\n\r\n', 400, CLOSES),
    # Fields.
    ('folded_line', get(H, b'A: b', b' c'), 400, CLOSES),
    ('folded_first_line', b'GET /healthz HTTP/1.1\r\n Host: localhost\r\n\r\n', 400, CLOSES),
    ('space_before_the_colon', get(b'Host : x'), 400, CLOSES),
    ('tab_before_the_colon', get(H, b'A\t: b'), 400, CLOSES),
    ('no_colon', get(H, b'A b'), 400, CLOSES),
    ('empty_name', get(H, b': b'), 400, CLOSES),
    ('bad_byte_in_a_name', get(H, b'A(b: c'), 400, CLOSES),
    ('high_byte_in_a_name', get(H, b'\xc3\xa4: c'), 400, CLOSES),
    ('nul_in_a_value', get(H, b'A: b\0c'), 400, CLOSES),
    ('control_in_a_value', get(H, b'A: b\x01c'), 400, CLOSES),
    ('del_in_a_value', get(H, b'A: b\x7fc'), 400, CLOSES),
    ('high_byte_in_a_value', get(H, b'A: \xc3\xa4'), 200, GOES_ON),
    ('too_many_fields', get(H, *[b'A%d: b' % i for i in range(100)]), 431, CLOSES),
    ('a_field_too_long', get(H, b'A: ' + b'b' * 40000), 431, CLOSES),
    ('a_field_that_never_ends', b'GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: ' + b'b' * 60000, 431, CLOSES),
    ('fields_too_long_together', get(H, *[b'A%d: ' % i + b'b' * 1000 for i in range(40)]), 431, CLOSES),
    # Host.
    ('no_host', get(), 400, CLOSES),
    ('no_host_in_1_0', get(version=b'HTTP/1.0'), 200, CLOSES),
    ('two_hosts', get(H, b'Host: y'), 400, CLOSES),
    ('two_equal_hosts', get(H, H), 400, CLOSES),
    ('host_with_a_space', get(b'Host: localhost y'), 400, CLOSES),
    ('host_with_a_path', get(b'Host: localhost/y'), 400, CLOSES),
    ('host_with_a_user', get(b'Host: root@x'), 400, CLOSES),
    # Content-Length.
    ('length_not_a_number', post(b'Content-Length: five', body=b'hello'), 400, CLOSES),
    ('length_negative', post(b'Content-Length: -5', body=b'hello'), 400, CLOSES),
    ('length_with_plus', post(b'Content-Length: +5', body=b'hello'), 400, CLOSES),
    ('length_in_hex', post(b'Content-Length: 0x5', body=b'hello'), 400, CLOSES),
    ('length_with_fraction', post(b'Content-Length: 5.0', body=b'hello'), 400, CLOSES),
    ('length_with_a_space_inside', post(b'Content-Length: 5 5', body=b'hello'), 400, CLOSES),
    ('length_empty', post(b'Content-Length:', body=b'hello'), 400, CLOSES),
    ('length_overflows', post(b'Content-Length: 18446744073709551621', body=b'hello'), 400, CLOSES),
    ('length_beyond_63_bits', post(b'Content-Length: 9223372036854775808', body=b'hello'), 400, CLOSES),
    ('two_lengths', post(b'Content-Length: 5', b'Content-Length: 6', body=b'hello'), 400, CLOSES),
    ('two_equal_lengths', post(b'Content-Length: 5', b'Content-Length: 5', body=b'hello'), 400, CLOSES),
    ('a_list_of_lengths', post(b'Content-Length: 5, 5', body=b'hello'), 400, CLOSES),
    ('body_too_large', post(b'Content-Length: 1099511627776', body=b'hello'), 413, CLOSES),
    # Transfer-Encoding.
    ('length_and_chunked', post(b'Content-Length: 5', b'Transfer-Encoding: chunked', body=b'0\r\n\r\n'), 400, CLOSES),
    ('chunked_and_length', post(b'Transfer-Encoding: chunked', b'Content-Length: 5', body=b'0\r\n\r\n'), 400, CLOSES),
    ('chunked_in_1_0', b'POST ' + JOBS + b' HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400, CLOSES),
    ('chunked_twice', post(b'Transfer-Encoding: chunked, chunked', body=b'0\r\n\r\n'), 400, CLOSES),
    ('chunked_in_two_fields', post(b'Transfer-Encoding: chunked', b'Transfer-Encoding: chunked', body=b'0\r\n\r\n'), 400, CLOSES),
    ('chunked_not_last', post(b'Transfer-Encoding: chunked, gzip', body=b'0\r\n\r\n'), 400, CLOSES),
    ('gzip_then_chunked', post(b'Transfer-Encoding: gzip, chunked', body=b'0\r\n\r\n'), 501, CLOSES),
    ('identity', post(b'Transfer-Encoding: identity', body=b'0\r\n\r\n'), 501, CLOSES),
    ('almost_chunked', post(b'Transfer-Encoding: xchunked', body=b'0\r\n\r\n'), 501, CLOSES),
    ('chunked_in_quotes', post(b'Transfer-Encoding: "chunked"', body=b'0\r\n\r\n'), 400, CLOSES),
    ('chunked_after_vertical_tab', post(b'Transfer-Encoding: \x0bchunked', body=b'0\r\n\r\n'), 400, CLOSES),
    ('empty_coding', post(b'Transfer-Encoding:', body=b'0\r\n\r\n'), 400, CLOSES),
    ('space_before_the_colon_of_te', post(b'Transfer-Encoding : chunked', body=b'0\r\n\r\n'), 400, CLOSES),
    # Chunks.
    ('size_not_hex', chunked(b'x\r\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('size_with_0x', chunked(b'0x5\r\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('size_negative', chunked(b'-5\r\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('size_empty', chunked(b'\r\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('size_with_spaces', chunked(b'5 \r\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('size_with_17_digits', chunked(b'00000000000000005\r\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('size_beyond_63_bits', chunked(b'8000000000000000\r\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('size_line_with_bare_lf', chunked(b'5\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('size_line_with_bare_cr', chunked(b'5\rhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('data_longer_than_its_size', chunked(b'4\r\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('data_ends_in_bare_lf', chunked(b'5\r\nhello\n0\r\n\r\n'), 400, CLOSES),
    ('extension_with_bare_lf', chunked(b'5;a\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('extension_with_nul', chunked(b'5;a=\0\r\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('extensions_too_long', chunked(b'5;' + b'a' * 5000 + b'\r\nhello\r\n0\r\n\r\n'), 400, CLOSES),
    ('many_small_extensions', chunked(b'1;aaaaaaaaaaaaaaaa\r\nx\r\n' * 1000 + b'0\r\n\r\n'), 400, CLOSES),
    ('last_chunk_with_bare_lf', chunked(b'5\r\nhello\r\n0\n\n'), 400, CLOSES),
    ('trailer_folded', chunked(b'0\r\nA: b\r\n c\r\n\r\n'), 400, CLOSES),
    ('trailer_without_colon', chunked(b'0\r\nA b\r\n\r\n'), 400, CLOSES),
    ('trailers_too_long', chunked(b'0\r\n' + b'A: b\r\n' * 2000 + b'\r\n'), 400, CLOSES),
    ('chunked_body_too_large', chunked(b'10000\r\n' + b'x' * 65536 + b'\r\n') + b'100000\r\n' + b'x' * 1048576, 413, CLOSES),
    # JSON, where a body has to be.
    ('json_cut', put_json(b'{"max": 1'), 400, GOES_ON),
    ('json_with_a_nul', put_json(b'{"max\0": 1}'), 400, GOES_ON),
    ('json_of_another_shape', put_json(b'[1, 2]'), 400, GOES_ON),
    ('json_too_deep', put_json(b'[' * 50000), 400, GOES_ON),
    # Expect.
    ('expectation_unknown', post(b'Expect: 200-ok', b'Content-Length: 5', body=b'hello'), 417, CLOSES),
    ('expectation_not_believed', post(b'Expect: 100-continue', b'Content-Length: 2000000'), 413, CLOSES),
]


def judge(w, name, request, status, closes, pieces=None):
    with w.raw() as c:
        try:
            if pieces:
                for i in range(0, len(request), pieces):
                    c.send(request[i:i + pieces])
                c.send(CANARY)
            else:
                c.send(request + CANARY)
        except (BrokenPipeError, ConnectionResetError):
            pass
        first = c.answer()
        check(first is not None, f'{name}: no answer')
        check_eq(first.status, status, name)
        second = c.answer()
        if closes:
            check(second is None, lambda: f'{name}: a second answer: {second!r}')
        else:
            check(second is not None, f'{name}: the connection should go on')
            check_eq(second.status, 200, f'{name}, the canary')


@test
def the_table_is_long_enough_and_names_are_its_own():
    check(len(TABLE) >= 60, len(TABLE))
    check_eq(len({t[0] for t in TABLE}), len(TABLE))


@test
def each_is_answered_as_the_rfc_asks():
    with Weir() as w:
        for entry in TABLE:
            judge(w, *entry)
        check_eq(w.get('/healthz').status, 200)


@test
def the_answer_does_not_depend_on_how_the_bytes_arrive():
    with Weir() as w:
        for name, request, status, closes in TABLE:
            if len(request) < 2000:
                judge(w, name, request, status, closes, pieces=random.choice([1, 2, 7]))


@test
def a_refusal_says_why_as_a_problem_and_that_the_connection_closes():
    with Weir() as w, w.raw() as c:
        c.send(b'GET / HTTP/1.1\r\n\r\n')
        a = c.answer()
        check_eq(a.status, 400)
        check_eq(a.headers['content-type'], 'application/problem+json')
        check_eq(a.headers['connection'], 'close')
        check_eq(a.json['status'], 400)


@test
def a_refusal_can_be_read_although_more_was_sent():
    """Closing at once would reset the connection and lose the answer."""
    with Weir() as w:
        for _ in range(20):
            with w.raw() as c:
                try:
                    c.send(post(b'Content-Length: 100000000') + b'x' * 200000)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                a = c.answer()
                check(a is not None and a.status == 413, a)


@test
def a_head_that_trickles_in_gets_408():
    with Weir() as w, w.raw(timeout=30) as c:
        begin = time.monotonic()
        c.send(b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n')
        c.sock.settimeout(1)
        got = b''
        while not got:
            try:
                c.send(b'A: b\r\n')
                got = c.sock.recv(65536)
            except TimeoutError:
                check(time.monotonic() - begin < 15, 'it waits for ever')
        check(got.startswith(b'HTTP/1.1 408 '), got)
        check(9.9 < time.monotonic() - begin < 13, time.monotonic() - begin)


@test
def random_damage_never_brings_it_down():
    rng = random.Random(1)
    seeds = [t[1] for t in TABLE if len(t[1]) < 2000]
    with Weir() as w:
        for _ in range(600):
            b = bytearray(rng.choice(seeds) + rng.choice(seeds))
            for _ in range(rng.randrange(1, 8)):
                i = rng.randrange(len(b))
                b[i:i + rng.randrange(3)] = bytes(rng.choices(b'\r\n\0 :;,/%.0159aAfx\xff', k=rng.randrange(3)))
            with w.raw() as c:
                try:
                    c.send(bytes(b))
                    c.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    continue
                while True:
                    a = c.answer(head_only=False)
                    if a is None:
                        break
                    check(100 <= a.status < 600, a)
        check_eq(w.get('/healthz').status, 200)


if __name__ == '__main__':
    main()
