# SPDX-License-Identifier: MIT
"""HTTP/2 as clients use it and abuse it: real clients, limits, floods, events, and the way out."""
from weirtest import *
from h2wire import *

import concurrent.futures
import json
import subprocess

FLOOD = 20000


def flood(c, one, n=FLOOD, each=200):
    """Sends one(i) up to n times; where the server hangs up is where it has had enough."""
    c.sock.settimeout(LIMIT)
    for i in range(0, n, each):
        try:
            c.sock.sendall(b''.join(one(k) for k in range(i, i + each)))
        except OSError:
            break
    c.refused(ENHANCE_YOUR_CALM)


# ---- real clients ----

@test
def curl_speaks_it_by_prior_knowledge_and_over_tls():
    with Weir('--store', 'mem') as w:
        out = subprocess.run(['curl', '-sS', '--http2-prior-knowledge', '-w', ' %{http_version} %{http_code}', '--data-binary', '@-',
                              f'http://127.0.0.1:{w.port}/v1/queues/q/jobs'], input='x' * 300000, capture_output=True,
                             text=True, timeout=LIMIT)
        check_in('"state":"queued"', out.stdout)
        check(out.stdout.endswith(' 2 202'), out)
    with Weir('--store', 'mem', '--tls-self-signed') as w:
        out = subprocess.run(['curl', '-sSk', '-w', ' %{http_version} %{http_code}', f'https://127.0.0.1:{w.tls_port}/healthz'],
                             capture_output=True, text=True, timeout=LIMIT)
        check_eq(out.stdout, 'ok\n 2 200', out.stderr)
        out = subprocess.run(['curl', '-sSk', '--http1.1', '-w', ' %{http_version} %{http_code}',
                              f'https://127.0.0.1:{w.tls_port}/healthz'], capture_output=True, text=True, timeout=LIMIT)
        check_eq(out.stdout, 'ok\n 1.1 200', out.stderr)


@test
def nghttp_gets_many_answers_on_one_connection():
    with Weir('--store', 'mem') as w:
        out = subprocess.run(['nghttp', '-nv', '-m', '50', f'http://127.0.0.1:{w.port}/openapi.json'],
                             capture_output=True, text=True, timeout=LIMIT)
        check_eq(out.stdout.count(':status: 200'), 50, out.stdout[-2000:])
        check('GOAWAY' not in out.stdout.split('recv')[-1] or 'NO_ERROR' in out.stdout, out.stdout[-500:])


@test
def h1_and_h2_share_the_port():
    with Weir('--store', 'mem') as w, H2(w.port) as c:
        c.request(1)
        check_eq(c.answer(1).status, 200)
        check_eq(w.get('/healthz').status, 200)
        c.request(3)
        check_eq(c.answer(3).status, 200)


# ---- limits ----

@test
def a_body_that_does_not_come_on_gets_408_and_others_go_on():
    with Weir('--store', 'mem', '--read-timeout', '300ms') as w, H2(w.port) as c:
        c.headers(1, head('POST', '/v1/queues/q/jobs'), END_HEADERS)
        c.request(3)
        check_eq(c.answer(3).status, 200)
        check_eq(c.answer(1).status, 408)


@test
def an_answer_that_is_not_read_is_reset_and_others_go_on():
    with Weir('--store', 'mem', '--write-timeout', '300ms') as w, H2(w.port, (INITIAL_WINDOW_SIZE, 10)) as c:
        c.auto = False
        c.request(1, 'GET', '/openapi.json')
        c.wait(lambda: 1 in c.answers and c.answers[1].reset is not None)
        c.request(3)
        check_eq(c.answer(3).status, 200)


@test
def an_idle_connection_is_told_to_go():
    with Weir('--store', 'mem', '--idle-timeout', '200ms') as w, H2(w.port) as c:
        c.request(1)
        c.answer(1)
        c.rest()
        check_eq([g.code for g in c.goaways], [NO_ERROR, NO_ERROR])
        check_eq([g.last for g in c.goaways], [0x7fffffff, 1])


@test
def a_cookie_in_crumbs_is_one_field():
    with Weir('--store', 'mem') as w, H2(w.port) as c:
        c.request(1, 'GET', '/healthz', ('cookie', 'a=b'), ('x', 'y'), ('cookie', 'c=d'), ('cookie', 'e=f'))
        check_eq(c.answer(1).status, 200)


# ---- floods: each is cut, and meanwhile and afterwards others are served ----

def floods(fn):
    def run():
        with Weir('--store', 'mem') as w, H2(w.port) as c, H2(w.port) as other:
            c.next()
            before = w.rss_kib()
            fn(w, c)
            other.request(1)
            check_eq(other.answer(1).status, 200)
            if not sanitized():
                check(w.rss_kib() - before < 30000, f'{w.rss_kib() - before} KiB more')
    run.__name__ = fn.__name__
    test(run)
    return fn


@floods
def rapid_resets_are_cut(w, c):
    flood(c, lambda i: frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, block(head())) +
          frame(RST_STREAM, 0, 2 * i + 1, struct.pack('>I', CANCEL)))


@floods
def resets_that_the_client_makes_us_send_are_cut(w, c):
    """MadeYouReset: a window too large, of a request that runs."""
    for i in range(0, FLOOD, 40):  # within the limit of streams, which is another defence
        c.send(*[frame(HEADERS, END_STREAM | END_HEADERS, 2 * k + 1, block(head('GET', '/v1/subjects/a/events'))) +
                 c.window(2 * k + 1, 0x7fffffff) for k in range(i, i + 40)], frame(PING, 0, 0, b'12345678'))
        while (f := c.next()) is not None and f.type != PING:
            pass
        if f is None:
            break
    c.refused(ENHANCE_YOUR_CALM)


@floods
def a_flood_of_pings_is_cut(w, c):
    flood(c, lambda i: frame(PING, 0, 0, b'12345678'))


@floods
def a_flood_of_settings_is_cut(w, c):
    flood(c, lambda i: frame(SETTINGS, 0, 0, settings((INITIAL_WINDOW_SIZE, 65535))))


@floods
def a_flood_of_empty_data_is_cut(w, c):
    c.headers(1, head('POST', '/v1/queues/q/jobs'), END_HEADERS)
    flood(c, lambda i: frame(DATA, 0, 1))


@floods
def a_flood_of_window_updates_is_cut(w, c):
    flood(c, lambda i: c.window(0, 1))


@floods
def a_flood_of_priorities_is_cut(w, c):
    flood(c, lambda i: frame(PRIORITY, 0, 2 * i + 1, bytes(4) + b'\x10'))


@floods
def a_flood_of_continuations_is_cut(w, c):
    b = block(head())
    c.send(frame(HEADERS, END_STREAM, 1, b))
    try:
        for _ in range(FLOOD):
            c.sock.sendall(frame(CONTINUATION, 0, 1, b'\x00\x01x\x01y' * 100))
    except OSError:
        pass
    c.refused(ENHANCE_YOUR_CALM, PROTOCOL_ERROR, INTERNAL_ERROR)


@floods
def a_head_that_unfolds_to_megabytes_is_cut(w, c):
    """A field of 4 KB goes into the table once, and is named thousands of times."""
    big = b'\x40' + number(1, 7, 0) + b'x' + number(4000, 7, 0) + b'y' * 4000
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block(head()) + big + b'\xbe' * 12000))
    c.refused(ENHANCE_YOUR_CALM)


@floods
def answers_to_who_does_not_read_are_bounded(w, c):
    """Thousands of requests, and nothing is ever read: the socket fills, and then the server waits."""
    c.sock.settimeout(1)
    try:
        for i in range(FLOOD):
            c.sock.sendall(frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, block(head('GET', '/openapi.json'))) +
                           c.window(0, 40000))
    except OSError:
        pass


@test
def many_requests_of_a_busy_client_are_no_flood():
    with Weir('--store', 'mem') as w, H2(w.port) as c:
        for i in range(0, 6000, 50):
            c.send(*[frame(HEADERS, END_STREAM | END_HEADERS, 2 * k + 1, block(head())) for k in range(i, i + 50)])
            for k in range(i, i + 50):
                check_eq(c.answer(2 * k + 1).status, 200)


# ---- events, drain ----

@test
def events_come_over_a_stream_and_others_beside_it():
    with Weir('--store', 'mem') as w, H2(w.port) as c:
        for s in range(1, 41, 2):
            c.request(s, 'GET', '/v1/subjects/news/events')
        for s in range(1, 41, 2):
            c.wait(lambda: s in c.answers and b'retry:' in c.answers[s].body)
        c.request(41, 'POST', '/v1/subjects/news', body=b'hello')
        check_eq(c.answer(41).status, 202)
        for s in range(1, 41, 2):
            c.wait(lambda: b'data: hello\n' in c.answers[s].body)
        c.send(*[frame(RST_STREAM, 0, s, struct.pack('>I', CANCEL)) for s in range(1, 41, 2)])
        until(lambda: 'weir_http_active 0' in w.get('/metrics').text or w.get('/v1/status').status == 200)


@test
def a_slow_reader_of_events_loses_some_and_is_told_and_others_get_all():
    with Weir('--store', 'mem') as w, H2(w.port, (INITIAL_WINDOW_SIZE, 100)) as slow, H2(w.port) as fast:
        slow.auto = False
        slow.request(1, 'GET', '/v1/subjects/s/events')
        fast.request(1, 'GET', '/v1/subjects/s/events')
        for c in (slow, fast):
            c.wait(lambda: 1 in c.answers and b'retry:' in c.answers[1].body)
        for i in range(600):
            w.post('/v1/subjects/s', b'event %d' % i)
            fast.wait(lambda: b'data: event %d\n' % i in fast.answers[1].body)
        slow.send(slow.window(1, 1 << 20), slow.window(0, 1 << 20))
        slow.wait(lambda: b'event: gap' in slow.answers[1].body or slow.answers[1].reset is not None)


@test
def sigterm_says_goaway_before_streams_end_and_answers_what_runs():
    with Weir('--store', 'mem') as w, H2(w.port) as c:
        c.request(1, 'GET', '/v1/subjects/a/events')
        c.headers(3, head('POST', '/v1/queues/q/jobs'), END_HEADERS)
        c.wait(lambda: 1 in c.answers and b'retry:' in c.answers[1].body)
        c.auto = False  # no answer to PING: the second GOAWAY waits for it
        c.ping()
        w.signal(signal.SIGTERM)
        c.wait(lambda: c.goaways)
        check_eq(c.goaways[0].last, 0x7fffffff)
        check(not c.answers[1].ended, 'the stream ended before GOAWAY')
        # Its answer is to show that GOAWAY was read, so it comes behind.
        check(not any(f.type == PING and not f.flags & ACK for f in c.log), 'a PING came before GOAWAY')
        # A request that crossed the GOAWAY is answered too.
        c.request(5)
        c.answer(5)
        a = c.answer(1)
        check_eq((a.reset, a.body.count(b'retry:')), (None, 2))
        c.send(frame(DATA, END_STREAM, 3, b'late but whole'))
        check_eq(c.answer(3).status, 202)
        c.rest()
        check_eq([g.code for g in c.goaways], [NO_ERROR, NO_ERROR])
        check_eq(c.goaways[1].last, 5)
        c.close()
        w.wait()


@test
def sigterm_ends_a_thousand_streams_on_fifty_connections():
    with Weir('--store', 'mem') as w:
        cs = [H2(w.port) for _ in range(50)]
        try:
            for c in cs:
                for s in range(1, 41, 2):
                    c.request(s, 'GET', '/v1/subjects/a/events')
            for c in cs:
                for s in range(1, 41, 2):
                    c.wait(lambda: s in c.answers and b'retry:' in c.answers[s].body)
            w.signal(signal.SIGTERM)
            with concurrent.futures.ThreadPoolExecutor(10) as pool:
                list(pool.map(H2.rest, cs))
            for c in cs:
                check_eq(len(c.goaways), 2)
                check(all(a.ended and a.reset is None for a in c.answers.values()), c.answers)
                c.close()
            w.wait()
            check_in('1000 finished, 0 cut', w.err)
        finally:
            for c in cs:
                c.sock.close()


@test
def a_client_that_vanishes_takes_its_lease_along():
    with Weir('--store', 'mem') as w:
        w.enqueue('q', b'job')
        with H2(w.port) as c:
            c.request(1, 'POST', '/v1/queues/q/take?lease=connection', body=b'')
            a = c.answer(1)
            check_eq(a.status, 200)
            job = json.loads(a.body)[0]
            check_eq(w.job(job['id'])['state'], 'running')
        until(lambda: w.job(job['id'])['state'] == 'queued')


if __name__ == '__main__':
    main()
