# SPDX-License-Identifier: MIT
"""examples/accept.c, question 6: an accept loop that can be closed, and waits for its connections."""
from weirtest import *


class Echo(Program):
    def __init__(self, addr='127.0.0.1:0', expect=0):
        self.expect = expect
        super().__init__([os.path.join(os.path.dirname(program()), 'examples', 'example-accept'), addr])
        try:
            self.port = int(self.wait_err(r'listening on \S+:(\d+)').group(1)) if 'unix' not in addr else 0
        except BaseException:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        self.kill()
        if kind is None:
            self.check_clean()

    def say(self, *lines):
        c = Raw(self.port)
        for line in lines:
            c.send(line)
            check_eq(c.read_until(b'\n'), line)
        return c


@test
def it_echoes():
    with Echo() as e, e.say(b'hello\n', b'again\n'):
        pass


@test
def sigterm_ends_it_at_once_and_idle_clients_hear_goodbye():
    with Echo() as e:
        clients = [e.say(b'hi\n') for _ in range(20)]
        start = time.monotonic()
        e.signal(signal.SIGTERM)
        for c in clients:
            check_eq(c.read_all(), b'bye\n')
        check_eq(e.wait(), 0)
        # It is a matter of microseconds; a loop that polls would need its 2 s.
        check(time.monotonic() - start < 1, lambda: f'took {time.monotonic() - start:.2f} s')
        e.wait_err('20 still connected')
        e.wait_err('served 20, all gone')
        for c in clients:
            c.close()


@test
def a_client_can_close_the_listener_and_the_others_go_on():
    with Echo() as e:
        first = e.say(b'one\n')
        last = e.say(b'close\n')
        e.wait_err('not listening any more, 2 still connected')
        try:
            Raw(e.port)
            fail('it still listens')
        except ConnectionRefusedError:
            pass
        first.send(b'two\n')
        check_eq(first.read_until(b'\n'), b'two\n')
        check(e.proc.poll() is None, 'it ended before its clients')
        first.close()
        last.close()
        check_eq(e.wait(), 0)
        e.wait_err('served 2, all gone')


@test
def who_connected_before_the_close_is_served():
    with Echo() as e:
        busy = [e.say(b'hi\n') for _ in range(4)]
        # Stopped, it cannot accept: these three wait in the kernel, with their line, when the signal comes.
        e.signal(signal.SIGSTOP)
        waiting = [Raw(e.port) for _ in range(3)]
        for c in waiting:
            c.send(b'close\n')
        e.signal(signal.SIGCONT)
        for c in waiting:
            check_eq(c.read_until(b'\n'), b'close\n')
        for c in busy + waiting:
            c.close()
        check_eq(e.wait(), 0)
        e.wait_err('served 7, all gone')


@test
def an_address_in_use_is_said():
    with Echo() as e:
        r = subprocess.run([os.path.join(os.path.dirname(program()), 'examples', 'example-accept'), f'127.0.0.1:{e.port}'],
                           capture_output=True, text=True, timeout=LIMIT)
        check_in('Address already in use', r.stderr)
        check_eq(r.returncode, 1)


if __name__ == '__main__':
    main()
