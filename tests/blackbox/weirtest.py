# SPDX-License-Identifier: MIT
"""What the black-box tests share: start the program, talk to it, wait for events, stop it and judge its end.

A test file reads:

    from weirtest import *

    @test
    def a_full_queue_says_try_later():
        with Weir('--queue-max', '1') as w:
            check_eq(w.post('/v1/queues/q/jobs', b'x').status, 202)
            check_eq(w.post('/v1/queues/q/jobs', b'x').status, 503)

    if __name__ == '__main__':
        main()

It prints "ok NAME" or "not ok NAME" for each and last "N passed, N failed". Arguments choose tests by a part of the name.
The program is $WEIR, else build/weir (or build-asan/weir when only that is there). Nothing sleeps to wait for something: `until`
repeats a cheap question with a pause and a limit where the program offers no event to wait for.
Leaving `with Weir()` stops the server with SIGTERM, checks the exit status (0) and that no sanitizer spoke.
"""
import atexit
import base64
import contextlib
import functools
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from tunnel import Tunnel

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZER = re.compile(r'ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|runtime error:|LeakSanitizer')
LIMIT = 20  # seconds: how long anything that should happen may take under a sanitizer on a busy machine

# The same tests over TLS: plain sockets through a tunnel, the program's own clients by themselves.
TLS = bool(os.environ.get('WEIR_TEST_TLS'))
# … and over HTTP/2, with or without TLS.
OVER_H2 = bool(os.environ.get('WEIR_TEST_H2'))
# The program's own clients over gRPC, and what it has no method for over HTTP/2.
OVER_GRPC = bool(os.environ.get('WEIR_TEST_GRPC'))

LONG = '--long' in sys.argv or bool(os.environ.get('WEIR_LONG'))

tests = []


def test(fn):
    tests.append(fn)
    return fn


class Failed(Exception):
    pass


def fail(text):
    raise Failed(text)


def check(cond, text='not so'):
    if not cond:
        fail(text() if callable(text) else str(text))


def check_eq(got, want, text=''):
    if got != want:
        fail(f'{text + ": " if text else ""}got {got!r}, not {want!r}')


def check_in(part, whole):
    if part not in whole:
        fail(f'{part!r} is not in {whole!r}')


def main():
    wanted = [a for a in sys.argv[1:] if not a.startswith('-')]
    passed = failed = 0
    for fn in tests:
        if wanted and not any(w in fn.__name__ for w in wanted):
            continue
        start = time.monotonic()
        try:
            fn()
        except KeyboardInterrupt:
            raise
        except BaseException as e:
            failed += 1
            where = traceback.extract_tb(e.__traceback__)
            line = next((f'{os.path.basename(f.filename)}:{f.lineno}' for f in reversed(where)
                         if not f.filename.endswith('weirtest.py')), '?')
            print(f'not ok {fn.__name__}  # {line}: {type(e).__name__}: {e}'.rstrip(), flush=True)
        else:
            passed += 1
            print(f'ok {fn.__name__}  # {time.monotonic() - start:.2f}s', flush=True)
    print(f'{passed} passed, {failed} failed')
    sys.exit(1 if failed else 0)


def program():
    given = os.environ.get('WEIR')
    if given:
        return given
    for name in ('build/weir', 'build-asan/weir'):
        path = os.path.join(ROOT, name)
        if os.path.isfile(path):
            return path
    fail('no program: build it, or name it in $WEIR')


def sanitized():
    """Does the program run under a sanitizer? Then its memory says little."""
    with open(program(), 'rb') as f:
        text = f.read()
    return b'__asan_init' in text or b'__tsan_init' in text


def until(question, text='it did not happen', limit=LIMIT):
    """The first true answer of question(); for what has no event to wait for."""
    end = time.monotonic() + limit
    pause = 0.005
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            fail(text() if callable(text) else text)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


class Answer:
    """status, headers (lower-case names), body (bytes), and .json of it."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode('utf-8', 'replace')

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def lines(self):
        return [json.loads(l) for l in self.body.splitlines() if l]

    def __repr__(self):
        return f'<{self.status} {self.body[:300]!r}>'


started = []


@atexit.register
def kill_left():
    """A test that fails may leave its server running."""
    for proc in started:
        if proc.poll() is None:
            proc.kill()
            proc.wait()


class Program:
    """A child process whose standard error is read as it comes."""

    def __init__(self, args, env=None, stdin=subprocess.DEVNULL, cwd=None, **kw):
        full = dict(os.environ)
        full.pop('NOTIFY_SOCKET', None)
        full.setdefault('ASAN_OPTIONS', 'detect_leaks=1:abort_on_error=0:exitcode=66')
        full.setdefault('UBSAN_OPTIONS', 'print_stacktrace=1:halt_on_error=1')
        full.update(env or {})
        self.args = args
        self.proc = subprocess.Popen(args, env=full, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     cwd=cwd, start_new_session=True, **kw)
        started[:] = [p for p in started if p.poll() is None]  # whose pipes are nobody's
        started.append(self.proc)
        self.pid = self.proc.pid
        self.err = ''
        self.out = b''
        self.cond = threading.Condition()
        self.readers = [threading.Thread(target=self._read_err, daemon=True),
                        threading.Thread(target=self._read_out, daemon=True)]
        for t in self.readers:
            t.start()

    def _read_err(self):
        for raw in self.proc.stderr:
            with self.cond:
                self.err += raw.decode('utf-8', 'replace')
                self.cond.notify_all()
        with self.cond:
            self.cond.notify_all()

    def _read_out(self):
        while True:
            raw = self.proc.stdout.read1(65536)
            if not raw:
                break
            with self.cond:
                self.out += raw
                self.cond.notify_all()

    def wait_err(self, pattern, limit=LIMIT, start=0):
        """The match of a pattern in what it says on standard error, from `start` on; fails when it ends first."""
        end = time.monotonic() + limit
        with self.cond:
            while True:
                m = re.compile(pattern, re.M).search(self.err, start)
                if m:
                    return m
                if self.proc.poll() is not None and not self.readers[0].is_alive():
                    fail(f'ended with {self.proc.returncode} before it said {pattern!r}: {self.err[-3000:]}')
                left = end - time.monotonic()
                if left <= 0:
                    fail(f'never said {pattern!r}: {self.err[-3000:]}')
                self.cond.wait(min(left, 0.2))

    def wait_out(self, pattern, limit=LIMIT):
        end = time.monotonic() + limit
        with self.cond:
            while not re.search(pattern, self.out):
                left = end - time.monotonic()
                if left <= 0:
                    fail(f'never printed {pattern!r}: {self.out[-2000:]!r} {self.err[-2000:]}')
                self.cond.wait(min(left, 0.2))

    def signal(self, sig):
        self.proc.send_signal(sig)

    def wait(self, limit=60):
        """Its exit status, with all it said read."""
        try:
            self.proc.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            fail(f'did not end within {limit} s: {self.err[-3000:]}')
        for t in self.readers:
            t.join(LIMIT)
        return self.proc.returncode

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        for t in self.readers:
            t.join(LIMIT)

    def check_clean(self):
        m = SANITIZER.search(self.err)
        if m:
            fail(f'a sanitizer spoke: {self.err[max(0, m.start() - 200):m.start() + 6000]}')


@functools.cache
def certificate():
    """The path, without .crt and .key, of a certificate for this machine that the program's clients trust."""
    d = tempfile.mkdtemp(prefix='weir-test-tls-')
    atexit.register(shutil.rmtree, d, True)
    path = os.path.join(d, 'tls')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1',
                    '-keyout', path + '.key', '-out', path + '.crt'], check=True, capture_output=True)
    os.environ['WEIR_CA'] = path + '.crt'
    return path


def gateway(port, ca=None):
    import gateway  # which reads frames with h2wire.py, which checks with this file
    return gateway.Gateway(port, ca)


class Weir(Program):
    """A running `weir serve` on a free port with a data directory of its own."""

    tunnel = None

    def __init__(self, *flags, data=None, listen='127.0.0.1:0', env=None, expect=0, wrap=(), **kw):
        self.own = None
        if data is None:
            data = self.own = tempfile.mkdtemp(prefix='weir-test-')
        self.data = data
        self.expect = expect
        args = list(wrap) + [program(), 'serve', '--data', data]
        for l in [listen] if isinstance(listen, str) else listen:
            args += ['--listen', l]
        args += flags
        self.tunnel = None
        tls = TLS and not any('--tls' in f for f in flags)
        if tls:
            args += ['--tls-cert', certificate() + '.crt', '--tls-key', certificate() + '.key']
        super().__init__(args, env=env, **kw)
        try:
            m = self.wait_err(r'listening on (?:https?://)?([^\s"]+)')
        except BaseException:
            self.kill()
            if self.own:
                shutil.rmtree(self.own, ignore_errors=True)
            raise
        self.addr = m.group(1)
        self.port = int(self.addr.rsplit(':', 1)[1]) if ':' in self.addr and not self.addr.startswith('unix') else None
        self.tls_port = self.port  # the server's own, also behind a tunnel
        self.url = f'{"grpc" if OVER_GRPC else "http"}{"s" if tls else ""}://127.0.0.1:{self.port}'
        if self.port and OVER_H2 and not any('--tls' in f for f in flags):
            self.tunnel = gateway(self.port, certificate() + '.crt' if tls else None)
        elif tls and self.port:
            self.tunnel = Tunnel(self.port, certificate() + '.crt')
        if self.tunnel:
            self.port = self.tunnel.port

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        try:
            if kind is None:
                self.stop()
            else:
                self.kill()
                sys.stderr.write(self.err[-4000:])
        finally:
            if self.tunnel:
                self.tunnel.close()
            if self.own:
                shutil.rmtree(self.own, ignore_errors=True)
        return False

    def stop(self, sig=signal.SIGTERM, expect=None, limit=60):
        """Stop and judge: exit status and sanitizers. Gives what it said since."""
        mark = len(self.err)
        if self.proc.poll() is None:
            self.signal(sig)
        status = self.wait(limit)
        self.check_clean()
        want = self.expect if expect is None else expect
        check_eq(status, want, f'exit status; it said: {self.err[-3000:]}')
        return self.err[mark:]

    # HTTP by the standard library: a connection a request, unless one is given.
    def connect(self, timeout=LIMIT):
        return http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, conn=None, timeout=LIMIT):
        c = conn or self.connect(timeout)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body).encode()
                headers = {'Content-Type': 'application/json', **(headers or {})}
            elif isinstance(body, str):
                body = body.encode()
            c.request(method, path, body=body, headers=headers or {})
            r = c.getresponse()
            return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            if conn is None:
                c.close()

    def get(self, path, **kw):
        return self.request('GET', path, **kw)

    def post(self, path, body=b'', **kw):
        return self.request('POST', path, body, **kw)

    def put(self, path, body=b'', **kw):
        return self.request('PUT', path, body, **kw)

    def delete(self, path, **kw):
        return self.request('DELETE', path, **kw)

    def raw(self, timeout=LIMIT):
        """A plain socket, for what no well-behaved client sends."""
        return Raw(self.port, timeout)

    def events(self, path, headers=None, timeout=LIMIT):
        return Events(self.port, path, headers, timeout)

    # What most tests need.
    def enqueue(self, queue, payload=b'x', **headers):
        a = self.post(f'/v1/queues/{queue}/jobs', payload,
                      headers={k.replace('_', '-'): str(v) for k, v in headers.items()})
        check_eq(a.status, 202, a.text)
        return a.json['id']

    def take(self, queue, **query):
        q = '&'.join(f'{k}={v}' for k, v in query.items())
        a = self.post(f'/v1/queues/{queue}/take' + (f'?{q}' if q else ''))
        check(a.status in (200, 204), a)
        return a.json if a.status == 200 else []

    def ack(self, job, result=b''):
        return self.post(f'/v1/jobs/{job["id"]}/ack?lease={job["lease"]}', result)

    def job(self, id):
        return self.get(f'/v1/jobs/{id}').json

    def rss_kib(self):
        with open(f'/proc/{self.pid}/status') as f:
            return int(re.search(r'VmRSS:\s+(\d+)', f.read()).group(1))

    def threads(self):
        return os.listdir(f'/proc/{self.pid}/task')


class Raw:
    def __init__(self, port, timeout=LIMIT):
        self.sock = socket.create_connection(('127.0.0.1', port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b''

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def _more(self):
        try:
            d = self.sock.recv(65536)
        except ConnectionResetError:
            d = b''
        self.buf += d
        return d

    def read_until(self, mark):
        """Up to and with `mark`; what came when the stream ended first."""
        while mark not in self.buf:
            if not self._more():
                r, self.buf = self.buf, b''
                return r
        i = self.buf.index(mark) + len(mark)
        r, self.buf = self.buf[:i], self.buf[i:]
        return r

    def read_n(self, n):
        while len(self.buf) < n and self._more():
            pass
        r, self.buf = self.buf[:n], self.buf[n:]
        return r

    def read_all(self):
        while self._more():
            pass
        r, self.buf = self.buf, b''
        return r

    def answer(self, head_only=False):
        """The next answer on the connection, by its framing; None when the stream ended."""
        while True:
            head = self.read_until(b'\r\n\r\n')
            if not head.endswith(b'\r\n\r\n'):
                return None
            lines = head.decode('latin-1').split('\r\n')
            status = int(lines[0].split()[1])
            if status >= 200:
                break
        headers = {}
        for l in lines[1:]:
            if ':' in l:
                k, v = l.split(':', 1)
                headers[k.strip().lower()] = v.strip()
        if head_only or status in (204, 304):
            body = b''
        elif headers.get('transfer-encoding') == 'chunked':
            body = b''
            while True:
                line = self.read_until(b'\r\n')
                if not line:
                    fail('the stream ended inside a chunked body')
                n = int(line.split(b';')[0], 16)
                body += self.read_n(n)
                self.read_n(2)
                if n == 0:
                    break
        elif 'content-length' in headers:
            body = self.read_n(int(headers['content-length']))
        else:
            body = self.read_all()
        return Answer(status, headers, body)


class Events:
    """A Server-Sent Events stream, read as a browser would. Fields of an event: id, event, data, retry."""

    def __init__(self, port, path, headers=None, timeout=LIMIT):
        self.raw = Raw(port, timeout)
        lines = ''.join(f'{k}: {v}\r\n' for k, v in (headers or {}).items())
        self.raw.send(f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n{lines}\r\n')
        head = self.raw.read_until(b'\r\n\r\n').decode('latin-1')
        check(head, 'no answer to a request for events')
        self.status = int(head.split()[1])
        self.headers = {l.split(':', 1)[0].strip().lower(): l.split(':', 1)[1].strip()
                        for l in head.split('\r\n')[1:] if ':' in l}
        self.chunked = self.headers.get('transfer-encoding') == 'chunked'
        self.text = b''
        self.over = False
        self.clean = False   # ended by its last chunk
        self.retry = None
        self.comments = 0

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    def close(self):
        self.raw.close()

    def body(self):
        """The rest, when it is no stream of events."""
        if 'content-length' in self.headers:
            return self.raw.read_n(int(self.headers['content-length']))
        while self._more():
            pass
        return self.text

    def _more(self):
        if self.over:
            return False
        if not self.chunked:
            if not self.raw._more():
                self.over = self.clean = True
            self.text += self.raw.buf
            self.raw.buf = b''
            return not self.over
        line = self.raw.read_until(b'\r\n')
        if not line.endswith(b'\r\n'):
            self.over = True
            return False
        n = int(line.split(b';')[0], 16)
        data = self.raw.read_n(n + 2)
        if len(data) < n + 2:
            self.over = True
            return False
        if n == 0:
            self.over = self.clean = True
            return False
        self.text += data[:n]
        return True

    def next(self, timeout=None):
        """The next event, or None at the end of the stream."""
        if timeout is not None:
            self.raw.sock.settimeout(timeout)
        while True:
            while b'\n\n' not in self.text:
                if not self._more():
                    return None
            block, self.text = self.text.split(b'\n\n', 1)
            e = {'event': 'message', 'id': None, 'data': None, 'retry': None}
            for line in block.decode('utf-8', 'replace').split('\n'):
                if line.startswith(':'):
                    self.comments += 1
                    continue
                k, _, v = line.partition(':')
                v = v[1:] if v.startswith(' ') else v
                if k == 'data':
                    e['data'] = v if e['data'] is None else e['data'] + '\n' + v
                elif k == 'retry':
                    self.retry = e['retry'] = int(v)
                elif k in e:
                    e[k] = v
            if e['data'] is not None:
                return e

    def all(self):
        """All until the end."""
        got = []
        while (e := self.next()) is not None:
            got.append(e)
        return got


def cli(*args, input=None, env=None, timeout=60, check_status=None, **kw):
    """Run a subcommand to its end: (status, stdout, stderr)."""
    p = subprocess.run([program(), *args], input=input, capture_output=True, timeout=timeout,
                       env={**os.environ, **(env or {})}, **kw)
    err = p.stderr.decode('utf-8', 'replace')
    m = SANITIZER.search(err)
    if m:
        fail(f'a sanitizer spoke: {err[:6000]}')
    if check_status is not None:
        check_eq(p.returncode, check_status, err)
    return p.returncode, p.stdout, err
