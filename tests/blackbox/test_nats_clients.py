# SPDX-License-Identifier: MIT
"""Real NATS clients on Weir's listener: nats.c, npm's, Go's; those that are not installed are left out by name."""
from nats_wire import *

CLIENTS = os.path.join(ROOT, 'tests', 'clients')


def c_client():
    path = os.path.join(os.path.dirname(program()), 'tests', 'nats_c')
    return [path] if os.path.isfile(path) else None


def npm_client():
    found = shutil.which('node') and os.path.isdir(os.path.join(CLIENTS, 'node_modules', 'nats'))
    return ['node', os.path.join(CLIENTS, 'nats.cjs')] if found else None


def go_client():
    """Built from the module cache only: nothing is loaded from the network here."""
    if not shutil.which('go'):
        return None
    path = os.path.join(os.path.dirname(os.path.abspath(program())), 'tests', 'nats_go')
    env = {**os.environ, 'GOPROXY': 'off', 'GOFLAGS': '-mod=mod -buildvcs=false'}
    built = subprocess.run(['go', 'build', '-o', path, '.'], cwd=os.path.join(CLIENTS, 'go'), env=env, capture_output=True)
    return [path] if built.returncode == 0 else None


FOUND = {}
for name, find in (('nats.c', c_client), ('npm nats', npm_client), ('nats.go', go_client)):
    command = find()
    if command:
        FOUND[name] = command
    else:
        print(f'left out: {name}', flush=True)


class Client(Program):
    def __init__(self, name, scenario, *ports):
        # nats.c 3.4 loses the buffer of a message that a reconnect cut in two.
        super().__init__(FOUND[name] + [','.join(f'nats://127.0.0.1:{p}' for p in ports), scenario],
                         env={'ASAN_OPTIONS': 'detect_leaks=0:exitcode=66'})

    def expect(self, text):
        self.wait_out(re.escape(text.encode()))

    def end(self):
        check_eq(self.wait(), 0, self.err[-2000:])


def each(fn):
    """One test for each client that is there."""
    for name in FOUND:
        def run(name=name):
            fn(name)
        run.__name__ = fn.__name__ + '_' + re.sub(r'\W', '_', name)
        test(run)
    return fn


def say(w, text):
    with w.nats() as c:
        c.send(f'PUB stay {len(text)}\r\n{text}\r\n')
        c.ping()


def subscribed(w):
    until(lambda: w.get('/subsz').json['num_subscriptions'] >= 1)


@each
def all_that_core_nats_has_works(name):
    with NatsWeir() as w:
        c = Client(name, 'basics', w.nats_port)
        c.expect('basics ok')
        c.end()


@each
def a_client_comes_back_after_a_restart(name):
    data = tempfile.mkdtemp(prefix='weir-test-')
    try:
        with NatsWeir(data=data) as w:
            port = w.nats_port
            c = Client(name, 'stay', port)
            c.expect('connected')
            say(w, 'before')
            c.expect('got before')
        c.expect('disconnected')
        with NatsWeir(nats=f'127.0.0.1:{port}', data=data) as w:
            c.expect('reconnected')
            subscribed(w)
            say(w, 'after')
            c.expect('got after')
            say(w, 'end')
            c.expect('drained')
            c.end()
    finally:
        shutil.rmtree(data, ignore_errors=True)


@each
def a_client_told_to_leave_goes_to_the_other_server(name):
    with NatsWeir() as b:
        with NatsWeir() as a:
            c = Client(name, 'stay', a.nats_port, b.nats_port)
            c.expect('connected')
            say(a, 'here')
            c.expect('got here')
        c.expect('told to leave')
        c.expect('reconnected')
        subscribed(b)
        say(b, 'there')
        c.expect('got there')
        say(b, 'end')
        c.expect('drained')
        c.end()


@each
def a_client_that_takes_nothing_is_cut_and_comes_back(name):
    with NatsWeir() as w:
        c = Client(name, 'stay', w.nats_port)
        c.expect('connected')
        c.signal(signal.SIGSTOP)
        with w.nats() as p:
            body = b'PUB stay 1000000\r\n' + b'x' * 1000000 + b'\r\n'
            while w.get('/varz').json['slow_consumers'] == 0:
                p.send(body)
                p.ping()
        check_eq(w.get('/subsz').json['num_subscriptions'], 0)
        c.signal(signal.SIGCONT)
        c.expect('reconnected')
        subscribed(w)
        say(w, 'again')
        c.expect('got again')
        say(w, 'end')
        c.expect('drained')
        c.end()


if __name__ == '__main__':
    main()
