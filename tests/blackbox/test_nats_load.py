# SPDX-License-Identifier: MIT
"""The NATS listener under load: a subscriber that stands still, a stop under way, many connections."""
import resource
import selectors

from nats_wire import *

SUBSCRIBERS = 100 if LONG else 20
SIZE = 128 if LONG else 1000


class Crowd:
    """Subscribers that read as fast as they can, and one publisher that writes as fast as it can."""

    def __init__(self, w):
        self.w, self.p = w, w.nats()
        self.subs = [w.nats() for _ in range(SUBSCRIBERS)]
        for s in self.subs:
            s.send(b'SUB load 1\r\n')
            s.ping()
            s.got = 0
        self.frame = len(b'MSG load 1 %d\r\n' % SIZE) + SIZE + 2
        self.chunk = (b'PUB load %d\r\n' % SIZE + b'x' * SIZE + b'\r\n') * 200
        self.select = selectors.DefaultSelector()

    def run(self, readers, seconds):
        """Publishes for so long and reads until all have all: messages a second."""
        for s in [self.p] + readers:
            s.sock.setblocking(False)
        before = {s: s.got for s in readers}
        for s in readers:
            self.select.register(s.sock, selectors.EVENT_READ, s)
        sent, rest, start = 0, b'', time.monotonic()
        self.select.register(self.p.sock, selectors.EVENT_WRITE, self.p)
        end, publishing = start + seconds, True
        while publishing or any(s.got - before[s] < sent * self.frame for s in readers):
            events = self.select.select(LIMIT)
            check(events, 'nothing moves')
            for key, _ in events:
                s = key.data
                if s is not self.p:
                    d = s.sock.recv(1 << 20)
                    check(d, 'a subscriber that reads was cut')
                    s.got += len(d)
                    continue
                if not rest and time.monotonic() > end:
                    publishing = False
                    self.select.unregister(s.sock)
                    continue
                if not rest:
                    rest, sent = self.chunk, sent + 200
                rest = rest[s.sock.send(rest):]
        took = time.monotonic() - start
        for s in readers:
            self.select.unregister(s.sock)
            check_eq(s.got - before[s], sent * self.frame)
        return sent / took

    def close(self):
        for s in [self.p] + self.subs:
            s.close()


@test
def one_that_stands_still_slows_nobody_and_holds_a_bounded_memory():
    seconds = 10 if LONG else 1.5
    with NatsWeir() as w:
        crowd = Crowd(w)
        free = max(crowd.run(crowd.subs, seconds / 3) for _ in range(2))
        before = w.rss_kib()
        still, readers = crowd.subs[0], crowd.subs[1:]
        rates, most, start = [], 0, time.monotonic()
        while time.monotonic() < start + seconds or w.get('/varz').json['slow_consumers'] == 0:
            rates.append(crowd.run(readers, seconds / 3))
            most = max(most, w.rss_kib())
            check(time.monotonic() < start + 10 * LIMIT, 'it was never cut')
        check_eq(w.get('/varz').json['connections'], SUBSCRIBERS)
        check(sorted(rates)[len(rates) // 2] > free / 4, f'{rates} messages a second, {free} without it')
        # 64 MiB are what one may hold, and each that reads holds a little.
        check(sanitized() or most - before < 160 * 1024, f'{before} KiB, then {most} KiB')
        still.close()
        crowd.close()


@test
def a_stop_delivers_what_was_accepted_and_tells_clients_to_leave():
    with NatsWeir() as w:
        s, p = w.nats(), w.nats()
        s.send(b'SUB work 1\r\n')
        s.ping()
        heard, lame = [], []

        def hear():
            while True:
                line = s.line()
                if line.startswith('MSG'):
                    heard.append(int(s.read_n(int(line.split()[-1]) + 2)))
                elif line.startswith('INFO'):
                    lame.append(json.loads(line[5:]).get('ldm'))
                elif not line:
                    return

        reader = threading.Thread(target=hear)
        reader.start()
        n, told = 0, None
        while told is None:
            p.send(b''.join(b'PUB work %d\r\n%d\r\n' % (len(str(i)), i) for i in range(n, n + 100)))
            n += 100
            if n == 1000:
                w.signal(signal.SIGTERM)
            if select.select([p.sock], [], [], 0)[0]:
                told = p.line()
        check(json.loads(told[5:])['ldm'], told)
        # All that the server has answered for is delivered, also what came after the stop began.
        check_eq(p.ping(), b'')
        check_eq(p.ended(), b'')
        reader.join(LIMIT)
        check_eq((lame, heard), ([True], list(range(n))))
        check_eq(w.wait(), 0)
        check_in('2 were closed', w.err)
        check_in('0 bytes were not taken', w.err)
        s.close()
        p.close()


@test
def clients_that_leave_when_told_are_counted():
    with NatsWeir('--grace', '60s') as w:
        clients = [w.nats() for _ in range(20)]
        w.signal(signal.SIGTERM)
        for c in clients:
            check(json.loads(c.line()[5:])['ldm'])
            c.close()
        check_eq(w.wait(), 0)
        check_in('20 clients left when asked, 0 were closed', w.err)


@test
def an_idle_connection_holds_little():
    n = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * n)), hard))
    clients = []
    with NatsWeir() as w:
        def grow(to):
            while len(clients) < to:
                c = w.nats()
                clients.append(c)
                c.send(f'SUB idle.{len(clients)} 1\r\n')
            for c in clients:
                c.ping()
            return w.rss_kib() * 1024

        # What is paid once is paid for the first ones.
        each = -(grow(n // 2) - grow(n // 2 + n)) / n
        check(sanitized() or each < 3 * 1024, f'{each} bytes')
        for c in clients:
            c.close()
        until(lambda: w.get('/varz').json['connections'] == 0)


@test
def more_connections_than_allowed_are_told_so():
    with NatsWeir('--conns-max', '3') as w:
        clients = [w.nats() for _ in range(3)]
        with socket.create_connection(('127.0.0.1', w.nats_port), LIMIT) as more:
            check_eq(more.recv(1000), b"-ERR 'maximum connections exceeded'\r\n")
        clients.pop().close()
        until(lambda: w.get('/varz').json['connections'] == 2)
        clients.append(w.nats())
        for c in clients:
            c.close()


if __name__ == '__main__':
    main()
