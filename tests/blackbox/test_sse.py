# SPDX-License-Identifier: MIT
"""examples/sse.c, question 5: limits and endless streams on one server, and a hub with very many clients."""
import resource

from weirtest import *


class Site(Program):
    """The example with so many ms between ticks and so many without progress."""

    def __init__(self, tick=1000, progress=10000, expect=0):
        self.expect = expect
        path = os.path.join(os.path.dirname(program()), 'examples', 'example-sse')
        super().__init__([path, '127.0.0.1:0', str(tick), str(progress)])
        try:
            self.port = int(self.wait_err(r'listening on \S+:(\d+)').group(1))
            self.gateway = gateway(self.port) if OVER_H2 else None
            self.port = self.gateway.port if OVER_H2 else self.port
        except BaseException:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if kind is None:
            self.stop()
        self.kill()
        if self.gateway:
            self.gateway.close()
        if kind is None:
            self.check_clean()

    def stop(self):
        if self.proc.poll() is None:
            self.signal(signal.SIGTERM)
            check_eq(self.wait(), self.expect, self.err[-2000:])

    def get(self, path):
        with Raw(self.port) as c:
            c.send(f'GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
            return c.answer()

    def post(self, text, conn=None):
        body = text if isinstance(text, bytes) else text.encode()
        head = f'POST /news HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n'.encode()
        c = conn or Raw(self.port)
        c.send(head + body)
        a = c.answer()
        check_eq(a.status, 200, a)
        if not conn:
            c.close()
        return int(a.text)

    def events(self, path='/news', **headers):
        e = Events(self.port, path, {k.replace('_', '-'): v for k, v in headers.items()})
        check_eq(e.status, 200)
        check_eq(e.headers['content-type'], 'text/event-stream')
        return e

    def count(self):
        """Clients of the hub, those it cut, tasks."""
        return tuple(int(n) for n in re.findall(r'\d+', self.get('/count').text))

    def wait_clients(self, n, limit=LIMIT):
        until(lambda: self.count()[0] == n, lambda: f'{self.count()[0]} clients, not {n}', limit)


@test
def a_slow_handler_gets_503_at_its_limit_and_a_quick_one_its_answer():
    with Site() as s:
        check_eq(s.get('/report?ms=50').text, 'done\n')
        start = time.monotonic()
        check_eq(s.get('/report?ms=60000').status, 503)
        took = time.monotonic() - start
        check(0.95 <= took < 1.5 or sanitized() and took < 5, lambda: f'after {took:.3f} s')


@test
def a_stream_outlives_every_limit():
    # Fifty ticks, each well within the progress limit; in all many times it, and twice the handler limit.
    with Site(tick=50, progress=200) as s, s.events('/clock') as e:
        for _ in range(50):
            check_eq(e.next()['event'], 'tick')


@test
def every_client_of_the_hub_gets_the_same_with_ids():
    with Site() as s:
        clients = [s.events() for _ in range(20)]
        s.wait_clients(20)
        s.post('one\ntwo')
        s.post('drei €')
        got = [[(e['id'], e['data']) for e in (c.next(), c.next())] for c in clients]
        check(all(g == got[0] for g in got), got)
        check_eq([d for _, d in got[0]], ['one\ntwo', 'drei €'])
        check(re.fullmatch(r'[0-9a-f]{16}-1', got[0][0][0]), got[0])
        for c in clients:
            c.close()


@test
def who_comes_back_misses_nothing_and_an_old_id_is_told_of_the_gap():
    with Site() as s:
        with s.events() as e:
            s.wait_clients(1)
            s.post('0')
            first = e.next()['id']
        for i in range(1, 1000):
            s.post(str(i))
        for how in ({'Last_Event_ID': first}, None):
            e = s.events(**how) if how else s.events(f'/news?last_event_id={first}')
            for i in range(1, 1000):
                check_eq(e.next()['data'], str(i))
            e.close()
        s.post('1000')
        s.post('1001')
        with s.events(Last_Event_ID=first) as e:
            gap = e.next()
            check_eq((gap['event'], json.loads(gap['data'])), ('gap', {'missed': 1}))
            check_eq(e.next()['data'], '2')
        with s.events(Last_Event_ID='0000000000000000-5') as e:
            check_eq(json.loads(e.next()['data']), {'missed': None})


@test
def a_quiet_stream_gets_comments():
    with Site(tick=20) as s, s.events() as e:
        s.wait_clients(1)
        time.sleep(1)  # What is measured: three beats of 300 ms without an event.
        s.post('x')
        check_eq(e.next()['data'], 'x')
        check(2 <= e.comments <= 4, f'{e.comments} comments')


@test
def two_hundred_clients_that_vanish_are_gone_within_a_second():
    with Site() as s:
        before = s.count()
        clients = [s.events() for _ in range(200)]
        s.wait_clients(200)
        check(s.count()[2] <= before[2] + 2, lambda: f'{s.count()[2]} tasks for 200 idle streams')
        start = time.monotonic()
        for c in clients:
            c.close()
        s.wait_clients(0)
        took = time.monotonic() - start
        check(took < 1 or sanitized(), f'{took:.2f} s')
        check_eq(s.count(), before)


@test
def a_client_that_stops_reading_is_cut_and_delays_nobody():
    with Site(progress=2000) as s:
        bad = Raw(s.port)
        bad.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        bad.send('GET /news HTTP/1.1\r\nHost: x\r\n\r\n')
        bad.read_until(b'retry: ')
        good = s.events()
        s.wait_clients(2)
        conn = Raw(s.port)
        big = b'x' * 500_000
        worst = 0
        for _ in range(20):  # More than the kernel keeps for one that does not read.
            start = time.monotonic()
            s.post(big, conn)
            check_eq(len(good.next()['data']), len(big))
            worst = max(worst, time.monotonic() - start)
        full = time.monotonic()
        s.wait_clients(1)
        took = time.monotonic() - full
        check(took < 3 or sanitized(), f'cut after {took:.2f} s')
        check(worst < 0.5 or sanitized(), f'another waited {worst:.2f} s')
        check_eq(s.count()[1], 1)
        print(f'  cut {took:.2f} s after it was full; the slowest event for the other took {worst * 1000:.0f} ms')
        for c in (bad, good, conn):
            c.close()


@test
def sigterm_ends_every_stream_cleanly_with_retry():
    with Site(tick=20) as s:
        streams = [s.events() for _ in range(100)] + [s.events('/clock') for _ in range(20)]
        s.wait_clients(100)
        s.post('last')
        s.signal(signal.SIGTERM)
        for i, e in enumerate(streams):
            data = []
            while (got := e.next()):
                data.append(got['data'])
            check(e.clean, 'a stream was cut')
            check(e.retry is not None and 500 <= e.retry <= 3500, e.retry)
            check(i >= 100 or 'last' in data, data)
        check_eq(s.wait(), 0, s.err[-2000:])


def crowd(port, n):
    """n streams on non-blocking sockets, each with its head."""
    poll = select.epoll()
    socks, got = {}, {}
    request = f'GET /news HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n'.encode()
    for first in range(0, n, 500):  # In portions: a listener's backlog is bounded.
        portion = []
        for _ in range(first, min(first + 500, n)):
            c = socket.create_connection(('127.0.0.1', port), LIMIT)
            c.sendall(request)
            c.setblocking(False)
            portion.append(c)
            socks[c.fileno()] = c
            got[c.fileno()] = bytearray()
            poll.register(c.fileno(), select.EPOLLIN)
        gather(poll, socks, got, {c.fileno() for c in portion}, b'retry: ')
    return poll, socks, got


def gather(poll, socks, got, waiting, mark, limit=120):
    """Read until each of those waited for has `mark` in what it got."""
    end = time.monotonic() + limit
    while waiting:
        check(time.monotonic() < end, lambda: f'{len(waiting)} still wait for {mark!r}')
        for fd, _ in poll.poll(1):
            data = socks[fd].recv(1 << 16)
            check(data, 'a stream ended')
            got[fd] += data
            if mark in got[fd][-len(data) - len(mark):]:
                waiting.discard(fd)


@test
def a_crowd_gets_every_one_of_100_events():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    n = min(100 if OVER_H2 else 1000 if sanitized() else 10000, limit - 200)
    with Site(tick=10000, progress=60000) as s:
        start = time.monotonic()
        poll, socks, got = crowd(s.port, n)
        s.wait_clients(n, 60)
        joined = time.monotonic() - start
        conn = Raw(s.port)
        start = time.monotonic()
        for i in range(0, 100, 10):  # Ten at a time, pipelined.
            conn.send(''.join(f'POST /news HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nevent {k:03}'
                              for k in range(i, i + 10)))
            check_eq([conn.answer().status for _ in range(10)], [200] * 10)
        gather(poll, socks, got, set(socks), b'data: event 099\n')
        took = time.monotonic() - start
        want = [f'event {i:03}'.encode() for i in range(100)]
        for text in got.values():
            check_eq(re.findall(rb'data: (event \d+)\n', bytes(text)), want)
        check_eq(s.count()[:2], (n, 0))
        rss = int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{s.pid}/status').read()).group(1))
        start = time.monotonic()
        for c in socks.values():
            c.close()
        s.wait_clients(0, 60)
        gone = time.monotonic() - start
        conn.close()
        print(f'  {n} clients joined in {joined:.1f} s, all 100 events at all of them in {took:.1f} s '
              f'({n * 100 / took:.0f}/s), {rss // 1024} MiB ({rss * 1024 // n} B each), gone in {gone:.2f} s')


if __name__ == '__main__':
    main()
