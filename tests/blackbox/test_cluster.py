# SPDX-License-Identifier: MIT
"""weir over a NATS cluster (serve --bus nats://…), and the subcommands that speak to one themselves. Against a real nats-server."""
import functools
import json
import os
import shutil
import socket
import subprocess
import tempfile

from weirtest import *

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Nats(Program):
    def __init__(self, port=None, *flags):
        self.port = port or free_port()
        super().__init__(['nats-server', '-a', '127.0.0.1', '-p', str(self.port), *flags])
        self.wait_err('Server is ready')
        self.url = f'nats://127.0.0.1:{self.port}'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


@functools.cache
def without_adapter():
    p = subprocess.run([program(), 'publish', 'a', 'x', '--server', 'nats://127.0.0.1:1'], capture_output=True, text=True)
    return 'built without' in p.stderr


def on_cluster(fn):
    """A test with a nats-server; without one it says so and passes."""
    @functools.wraps(fn)
    def wrapped():
        if not shutil.which('nats-server'):
            print('skipped: nats-server is not installed')
            return
        if without_adapter():
            print('skipped: built without nats.c')
            return
        with Nats() as n:
            fn(n)
    return test(wrapped)


def over(n, *flags):
    return Weir('--bus', n.url, *flags)


def run(url, *args, status=0, input=b''):
    p = subprocess.run([program(), *args], input=input, capture_output=True, timeout=LIMIT,
                       env={**os.environ, 'WEIR_SERVER': url})
    check_eq(p.returncode, status, f'{args}: {p.stderr.decode()}')
    return p.stdout.decode(), p.stderr.decode()


class Client(Program):
    def __init__(self, url, *args):
        super().__init__([program(), *args], env={'WEIR_SERVER': url})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.check_clean()


class Events:
    """One event stream; next() is its next event's data."""

    def __init__(self, w, pattern):
        self.conn = w.connect()
        self.conn.request('GET', f'/v1/subjects/{pattern}/events')
        self.answer = self.conn.getresponse()
        check_eq(self.answer.status, 200)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.conn.close()

    def next(self):
        data, name = [], ''
        while True:
            line = self.answer.readline().decode().rstrip('\r\n')
            if line.startswith('data:'):
                data.append(line[5:].lstrip(' '))
            elif line.startswith('event:'):
                name = line[6:].strip()
            elif not line and name:
                return name
            elif not line and data:
                return '\n'.join(data)


@on_cluster
def two_weirs_on_one_cluster_are_one_bus(n):
    with over(n) as a, over(n) as b, Events(a, 'orders.*') as e, Events(a, 'orders.*') as f:
        r = b.post('/v1/subjects/orders.new', b'first')
        check_eq((r.status, r.json), (202, {'accepted': True}))
        check_eq(e.next(), 'first')
        check_eq(f.next(), 'first')


@on_cluster
def requests_cross_the_cluster_and_find_out_that_nobody_listens(n):
    with over(n) as a, over(n) as b, Client(a.url, 'reply', 'upper', '--', 'tr', 'a-z', 'A-Z'):
        until(lambda: a.get('/v1/status').json['streams'] >= 1, 'no stream was opened')
        r = b.post('/v1/subjects/upper/request?timeout=10s', b'hello')
        check_eq((r.status, r.body), (200, b'HELLO'))
        check_eq(b.post('/v1/subjects/nobody/request?timeout=10s', b'').status, 503)


@on_cluster
def changes_of_jobs_are_heard_on_the_cluster(n):
    with over(n) as a, Client(n.url, 'subscribe', 'weir.jobs.mail.*', '-n', '1', '--json') as c:
        until(lambda: 'queued' in c.out.decode() or a.post('/v1/queues/mail/jobs', b'x') is None, 'no change was heard')
        check_eq(c.wait(), 0)


@on_cluster
def an_outage_is_seen_and_survived(n):
    with over(n) as w, Events(w, 'a') as e:
        w.post('/v1/subjects/a', b'1')
        check_eq(e.next(), '1')
        n.kill()
        until(lambda: not w.get('/v1/status').json['bus']['connected'], 'the outage was not noticed')
        check_eq(w.post('/v1/subjects/a', b'2').status, 202)  # kept for the cluster's return
        check_in('weir_bus_connected 0', w.get('/metrics').text)
        with Nats(n.port):
            check_eq(e.next(), 'gap')  # others may have published meanwhile
            check_eq(e.next(), '2')
            check_eq(w.get('/v1/status').json['bus']['reconnects'], 1)
            w.stop()


@on_cluster
def subcommands_speak_to_the_cluster_itself(n):
    with Client(n.url, 'subscribe', 'a.*', '-n', '2') as c, Client(n.url, 'reply', 'upper', '--', 'tr', 'a-z', 'A-Z'):
        until(lambda: b'first' in c.out or run(n.url, 'publish', 'a.b', 'first') is None, 'nothing was heard')
        out, _ = run(n.url, 'publish', 'a.c', '--json', input=b'second')
        check_eq(json.loads(out), {'accepted': True})
        check_eq(c.wait(), 0)
        check(c.out.startswith(b'first\n'))
        until(lambda: subprocess.run([program(), 'request', 'upper', 'hello'], capture_output=True,
                                     env={**os.environ, 'WEIR_SERVER': n.url}).stdout == b'HELLO', 'no answer')
    _, err = run(n.url, 'request', 'nobody', 'x', status=1)
    check_in('nobody answers', err)


@on_cluster
def what_a_cluster_cannot_do_is_said(n):
    _, err = run(n.url, 'enqueue', 'q', 'x', status=2)
    check_in('NATS', err)
    n.kill()
    _, err = run('nats://me:secret@' + n.url[7:], 'publish', 'a', 'x', status=4)
    check('secret' not in err, err)
    with tempfile.TemporaryDirectory() as data:
        p = subprocess.run([program(), 'serve', '--bus', n.url, '--listen', '127.0.0.1:0', '--data', data],
                           capture_output=True, text=True, timeout=LIMIT, env={**os.environ})
    check_eq(p.returncode, 1, p.stderr)
    check_in('none of its servers can be reached', p.stderr)


if __name__ == '__main__':
    main()
