# SPDX-License-Identifier: MIT
"""gRPC streams and a server that stops; clients that vanish; a server that takes over."""
import pathlib

from weirtest import *
from h2wire import *

PROGRAM = pathlib.Path(program()).parent / 'tests/interop/interop-stop'
EXAMPLE = pathlib.Path(program()).parent / 'examples/example-grpc_stream'


class Peer:
    """A process whose lines are read one by one."""

    def __init__(self, *args, exe=PROGRAM, **kw):
        self.p = subprocess.Popen([str(exe), *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, **kw)

    def __enter__(self):
        return self

    def __exit__(self, *a):
        if self.p.poll() is None:
            self.p.kill()
        self.p.communicate()

    def line(self):
        return self.p.stdout.readline().strip()

    def rest(self):
        """(exit status, what it printed, what it said)"""
        out, err = self.p.communicate(timeout=6 * LIMIT)
        check(not SANITIZER.search(err), err)
        return self.p.returncode, out, err

    def stop(self):
        self.p.send_signal(signal.SIGTERM)


def server(*args, grace='20s', **kw):
    return Peer('serve', *(args or ('127.0.0.1:0',)), env={**os.environ, 'WEIR_GRACE': grace}, **kw)


@test
def a_thousand_streams_end_with_a_status_and_calls_in_flight_succeed():
    with server() as s:
        target = 'grpc://' + s.line()
        with Peer('streams', target, 50, 20) as c:
            check_eq(c.line(), 'open')
            start = time.monotonic()
            s.stop()
            status, _, said = s.rest()
            check_eq(status, 0, said)
            check(time.monotonic() - start < 20, 'the stop took longer than its budget')
            status, out, _ = c.rest()
            check_eq(out.strip(), '1000 unavailable, 50 finished, 0 other')
            check_eq(status, 0)


@test
def a_handler_that_ignores_the_drain_is_cut_and_named():
    with server(grace='3s') as s:
        target = 'grpc://' + s.line()
        with Peer('deaf', target) as c:
            check_eq(c.line(), 'open')
            s.stop()
            status, out, said = s.rest()
            check_eq(status, 3, said)
            check_in('/stop.Stop/Deaf', said)
            check_in('a handler ended', out)
            _, out, _ = c.rest()
            check(out.strip() in ('UNAVAILABLE', 'CANCELLED'), out)


@test
def a_client_that_is_killed_ends_the_handler_at_once():
    with server() as s:
        target = 'grpc://' + s.line()
        with Peer('deaf', target) as c:
            check_eq(c.line(), 'open')
            c.p.kill()
            start = time.monotonic()
            check_in('a handler ended: ', s.line())
            check(time.monotonic() - start < LIMIT, 'it took long')
        s.stop()
        check_eq(s.rest()[0], 0)


@test
def a_reset_of_the_connection_or_the_stream_ends_the_handler_at_once():
    with server() as s:
        port = int(s.line().rsplit(':', 1)[1])
        for cut in ('connection', 'stream'):
            with H2(port) as c:
                c.headers(1, head('POST', '/stop.Stop/Deaf', ('te', 'trailers'), ('content-type', 'application/grpc')), END_HEADERS)
                c.send(frame(DATA, 0, 1, bytes(5)))
                c.wait(lambda: 1 in c.answers and c.answers[1].fields)
                start = time.monotonic()
                if cut == 'stream':
                    c.send(frame(RST_STREAM, 0, 1, struct.pack('>I', CANCEL)))
                else:
                    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                    c.sock.close()
                check_in('a handler ended: ', s.line())
                check(time.monotonic() - start < 5, 'it took long')
        s.stop()
        check_eq(s.rest()[0], 0)


@test
def the_third_ping_that_comes_too_early_is_too_many():
    with server() as s:
        with H2(int(s.line().rsplit(':', 1)[1])) as c:
            c.headers(1, head('POST', '/stop.Stop/Deaf', ('te', 'trailers'), ('content-type', 'application/grpc')), END_HEADERS)
            c.send(frame(DATA, 0, 1, bytes(5)))
            c.wait(lambda: 1 in c.answers and c.answers[1].fields)
            # The first one is none, and two strikes are forgiven.
            for _ in range(3):
                c.ping()
            check_eq(c.goaways, [])
            c.send(frame(PING, 0, 0, b'too many'))
            c.refused(ENHANCE_YOUR_CALM)
            check_eq([(g.code, g.payload[8:]) for g in c.goaways][:1], [(ENHANCE_YOUR_CALM, b'too_many_pings')])
        check_in('a handler ended: ', s.line())
        s.stop()
        check_eq(s.rest()[0], 0)


@test
def no_call_is_lost_while_a_new_server_takes_over():
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
        os.set_inheritable(listener.fileno(), True)
        take = f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec {PROGRAM} serve'

        def passed():
            return Peer('-c', take, exe='/bin/sh', pass_fds=[listener.fileno()])

        servers = [passed()]
        try:
            servers[0].line()
            with Peer('calls', f'grpc://127.0.0.1:{port}') as c:
                check_eq(c.line(), 'open')
                for _ in range(3):
                    servers.append(passed())
                    servers[-1].line()
                    servers[-2].stop()
                    status, _, said = servers[-2].rest()
                    check_eq(status, 0, said)
                status, out, said = c.rest()
                check_in(' finished, 0 other', out + said)
                check(int(out.split()[0]) > 100, out)
            servers[-1].stop()
            check_eq(servers[-1].rest()[0], 0)
        finally:
            for s in servers:
                s.__exit__()


@test
def the_example_ends_its_streams_in_order():
    with Peer('127.0.0.1:0', exe=EXAMPLE) as s:
        address = s.p.stderr.readline().split()[-1]
        with Peer('watch', f'grpc://{address}', 3, exe=EXAMPLE) as c:
            for n in range(3):
                until(lambda: c.line().endswith('tick 2'))
            s.stop()
            check_eq(s.rest()[0], 0)
            _, out, _ = c.rest()
            for n in range(3):
                check_in(f'client {n}: ended: UNAVAILABLE (the server is stopping)', out)


if __name__ == '__main__':
    if not PROGRAM.exists():
        print('skipped: built without gRPC')
        tests.clear()
    main()
