# SPDX-License-Identifier: MIT
"""TLS as openssl, curl and Python's ssl see it."""
from weirtest import *

MODERN = {'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-CHACHA20-POLY1305'}


class Authority:
    """Makes certificates, in a directory of its own."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='weir-test-ca-')
        self.made = 0
        self.ca = self.path('ca.crt')
        self.openssl('req', '-x509', *self.key('ca'), '-days', '2', '-subj', '/CN=test authority', '-out', self.ca)

    def __enter__(self):
        return self

    def __exit__(self, *a):
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def openssl(self, *args):
        subprocess.run(['openssl', *args], check=True, capture_output=True, timeout=LIMIT)

    def key(self, name):
        return ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', self.path(name + '.key'))

    def make(self, name, alt=None, subject=None, into=None):
        """(certificate, key) for a name; `into` overwrites another's files."""
        file = into or name
        self.made += 1
        self.openssl('req', '-x509', *self.key(file), '-days', '2', '-subj', f'/CN={subject or name}', '-CA', self.ca,
                     '-CAkey', self.path('ca.key'), '-set_serial', str(self.made), '-out', self.path(file + '.crt'),
                     '-addext', 'basicConstraints=critical,CA:FALSE', '-addext', f'subjectAltName={alt or "DNS:" + name}')
        return self.path(file + '.crt'), self.path(file + '.key')


class Https:
    """A server with certificates of an authority."""

    def __init__(self, ca, *flags, pairs=None, **kw):
        pairs = pairs or [ca.make('localhost', 'DNS:localhost,IP:127.0.0.1')]
        args = [a for cert, key in pairs for a in ('--tls-cert', cert, '--tls-key', key)]
        self.weir = Weir(*args, *flags, **kw)
        self.ca = ca

    def __enter__(self):
        self.weir.__enter__()
        return self.weir

    def __exit__(self, *a):
        return self.weir.__exit__(*a)


def s_client(w, *args, input=b''):
    """What openssl s_client says."""
    p = subprocess.run(['openssl', 's_client', '-connect', f'127.0.0.1:{w.port}', *args], input=input, capture_output=True,
                       timeout=LIMIT)
    return p.stdout.decode('latin-1') + p.stderr.decode('latin-1')


def connect(w, ca=None, name='localhost', **settings):
    context = ssl.create_default_context(cafile=ca)
    if not ca:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for k, v in settings.items():
        setattr(context, k, v)
    return context.wrap_socket(socket.create_connection(('127.0.0.1', w.port), LIMIT), server_hostname=name,
                               suppress_ragged_eofs=False)


def common_name(sock):
    return dict(pair for part in sock.getpeercert()['subject'] for pair in part)['commonName']


def ask(sock, path='/healthz', close=False):
    sock.sendall(f'GET {path} HTTP/1.1\r\nHost: localhost\r\n{"Connection: close" + chr(13) + chr(10) if close else ""}\r\n'.encode())
    data = b''
    while b'\r\n\r\n' not in data or (close and sock):
        more = sock.recv(65536)
        if not more:
            break
        data += more
    return data


@test
def versions_before_1_2_are_refused():
    with Authority() as ca, Https(ca) as w:
        for version in ('-tls1', '-tls1_1'):
            said = s_client(w, version, '-cipher', 'ALL:@SECLEVEL=0')
            check_in('Cipher is (NONE)', said)
            check_in('alert protocol version', said)
        for version, name in (('-tls1_2', 'TLSv1.2'), ('-tls1_3', 'TLSv1.3')):
            check_in(f'New, {name}, Cipher is ', s_client(w, version))


@test
def only_ciphers_with_forward_secrecy_and_aead_are_spoken():
    with Authority() as ca, Https(ca) as w:
        offered = subprocess.run(['openssl', 'ciphers', '-s', '-tls1_2', 'ALL:@SECLEVEL=0'], capture_output=True, check=True).stdout
        spoken = set()
        for name in offered.decode().strip().split(':'):
            if 'PSK' in name or 'SRP' in name or not ('ECDSA' in name or name.startswith(('AES', 'DHE', 'ECDHE', 'CAMELLIA'))):
                continue
            if f'Cipher is {name}' in s_client(w, '-tls1_2', '-cipher', f'{name}:@SECLEVEL=0'):
                spoken.add(name)
        check_eq(spoken, MODERN)


@test
def alpn_agrees_on_what_is_served_and_refuses_the_rest():
    with Authority() as ca, Https(ca) as w:
        check_in('ALPN protocol: h2', s_client(w, '-alpn', 'http/1.1,h2'))
        check_in('ALPN protocol: http/1.1', s_client(w, '-alpn', 'spdy/3,http/1.1'))
        check_in('No ALPN negotiated', s_client(w))
        said = s_client(w, '-alpn', 'ftp')
        check_in('alert no application protocol', said)


@test
def renegotiation_is_refused():
    with Authority() as ca, Https(ca) as w:
        said = s_client(w, '-tls1_2', input=b'R\n')
        check_in('RENEGOTIATING', said)
        check_in('no renegotiation', said)
        check_in('Secure Renegotiation IS supported', said)


@test
def a_session_is_resumed_by_its_ticket_also_over_a_reload():
    with Authority() as ca, Https(ca) as w:
        for version in ('-tls1_2', '-tls1_3'):
            file = ca.path('session' + version)
            request = b'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
            check_in('New, ', s_client(w, version, '-sess_out', file, '-ign_eof', input=request))
            check_in('Reused, ', s_client(w, version, '-sess_in', file, '-ign_eof', input=request))
            mark = len(w.err)
            w.signal(signal.SIGHUP)
            w.wait_err('the certificates were read again', start=mark)
            check_in('Reused, ', s_client(w, version, '-sess_in', file, '-ign_eof', input=request))


@test
def every_name_gets_its_certificate():
    with Authority() as ca:
        pairs = [ca.make('localhost'), ca.make('a.test'), ca.make('b.test', 'DNS:b.test,DNS:*.b.test')]
        with Https(ca, pairs=pairs) as w:
            for name, want in [('a.test', 'a.test'), ('b.test', 'b.test'), ('x.b.test', 'b.test'), ('A.TEST', 'a.test'),
                               ('localhost', 'localhost')]:
                with connect(w, ca.ca, name) as s:
                    check_eq((name, common_name(s)), (name, want))
            # Who asks for none of them gets the first.
            for args in (('-servername', 'x.y.b.test'), ('-servername', 'other.test'), ('-noservername',)):
                check_in('subject=CN = localhost', s_client(w, *args))


@test
def a_reload_under_load_loses_no_request():
    with Authority() as ca:
        pair = ca.make('localhost')
        with Https(ca, pairs=[pair]) as w:
            stop, lost, done, subjects = threading.Event(), [], [0] * 6, set()

            def load(n):
                try:
                    kept = connect(w, ca.ca)
                    while not stop.is_set():
                        if not ask(kept).startswith(b'HTTP/1.1 200'):
                            lost.append('a request on a kept connection')
                        with connect(w, ca.ca) as fresh:
                            subjects.add(fresh.getpeercert()['serialNumber'])
                            if not ask(fresh, close=True).startswith(b'HTTP/1.1 200'):
                                lost.append('a request on a new connection')
                        done[n] += 1
                    kept.close()
                except OSError as e:
                    lost.append(repr(e))
            threads = [threading.Thread(target=load, args=(n,)) for n in range(6)]
            for t in threads:
                t.start()
            for round in range(5):
                before = list(done)
                until(lambda: all(d > b for d, b in zip(done, before)) or lost, 'no request gets through')
                ca.make('localhost', into='localhost')
                mark = len(w.err)
                w.signal(signal.SIGHUP)
                w.wait_err('the certificates were read again', start=mark)
            before = list(done)
            until(lambda: all(d > b + 1 for d, b in zip(done, before)) or lost, 'no request gets through')
            stop.set()
            for t in threads:
                t.join()
            check_eq(lost, [])
            check(len(subjects) >= 5, subjects)


@test
def a_bad_file_on_reload_changes_nothing():
    with Authority() as ca:
        cert, key = ca.make('localhost')
        with Https(ca, pairs=[(cert, key)]) as w:
            good = open(cert).read()
            with open(cert, 'w') as f:
                f.write('nonsense\n')
            w.signal(signal.SIGHUP)
            w.wait_err('the certificates could not be read again, those in use stay')
            with connect(w, ca.ca) as s:
                check_in(b'200 OK', ask(s, close=True))
            with open(cert, 'w') as f:
                f.write(good)


@test
def a_client_shows_a_certificate_of_the_authorities_or_is_not_served():
    with Authority() as ca, Authority() as others:
        mine, theirs = ca.make('worker-7'), others.make('worker-7')
        with Https(ca, '--tls-client-ca', ca.ca) as w:
            url = f'https://127.0.0.1:{w.port}'
            env = {'WEIR_CA': ca.ca}
            cli('status', '--server', url, '--client-cert', mine[0], '--client-key', mine[1], env=env, check_status=0)
            for version in ('-tls1_2', '-tls1_3'):
                request = b'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
                check_in('200 OK', s_client(w, version, '-ign_eof', '-cert', mine[0], '-key', mine[1], input=request))
                for args in ((), ('-cert', theirs[0], '-key', theirs[1])):
                    said = s_client(w, version, '-ign_eof', *args, input=request)
                    check('200 OK' not in said and 'alert' in said, said)
            status, _, err = cli('status', '--server', url, env=env)
            check_eq(status, 4, err)


@test
def a_client_is_trusted_whichever_certificate_it_is_shown():
    with Authority() as ca:
        mine, pairs = ca.make('worker-7'), [ca.make('one.test'), ca.make('two.test')]
        with Https(ca, '--tls-client-ca', ca.ca, pairs=pairs) as w:
            for version in ('-tls1_2', '-tls1_3'):
                for name in ('one.test', 'two.test'):
                    request = f'GET /healthz HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n'.encode()
                    said = s_client(w, version, '-servername', name, '-ign_eof', '-cert', mine[0], '-key', mine[1], input=request)
                    check_in(f'subject=CN = {name}', said)
                    check_in('Acceptable client certificate CA names\nCN = test authority', said)
                    check_in('HTTP/1.1', said)


@test
def the_name_in_a_certificate_may_do_what_its_line_says():
    with Authority() as ca, tempfile.NamedTemporaryFile('w') as f:
        f.write('mailer cert:worker-7 take:mail\nroot 0123456789abcdef-root admin\n')
        f.flush()
        os.chmod(f.name, 0o600)
        ours, others = ca.make('worker-7'), ca.make('worker-8')
        with Https(ca, '--tls-client-ca', ca.ca, '--token-file', f.name) as w:
            def ask_as(pair, method, path, **headers):
                context = ssl.create_default_context(cafile=ca.ca)
                context.load_cert_chain(*pair)
                c = http.client.HTTPSConnection('localhost', w.port, timeout=LIMIT, context=context)
                try:
                    return w.request(method, path, b'' if method == 'POST' else None, headers=headers, conn=c).status
                finally:
                    c.close()
            check_eq(ask_as(ours, 'POST', '/v1/queues/mail/take'), 204)
            check_eq(ask_as(ours, 'POST', '/v1/queues/other/take'), 403)
            check_eq(ask_as(ours, 'POST', '/v1/queues/mail/jobs'), 403)
            check_eq(ask_as(others, 'POST', '/v1/queues/mail/take'), 401)
            # A token weighs more than a certificate; and a name is no token.
            check_eq(ask_as(others, 'POST', '/v1/queues/mail/jobs', Authorization='Bearer 0123456789abcdef-root'), 202)
            check_eq(ask_as(others, 'POST', '/v1/queues/mail/take', Authorization='Bearer cert:worker-7'), 401)


@test
def clients_trust_whom_they_are_told_to():
    with Authority() as ca, Https(ca) as w:
        for host in ('localhost', '127.0.0.1'):
            url = f'https://{host}:{w.port}'
            cli('status', '--server', url, '--ca', ca.ca, check_status=0)
            cli('status', '--server', url, '--insecure', check_status=0)
            status, _, err = cli('status', '--server', url, env={'WEIR_CA': ''})
            check_eq(status, 4, err)
            check_in('is not trusted', err)
        with Authority() as other:
            status, _, err = cli('status', '--server', f'https://localhost:{w.port}', '--ca', other.ca)
            check_eq(status, 4, err)
        out = subprocess.run(['curl', '-sS', '--cacert', ca.ca, '--resolve', f'localhost:{w.port}:127.0.0.1',
                              f'https://localhost:{w.port}/healthz'], capture_output=True, timeout=LIMIT)
        check_eq((out.returncode, out.stdout), (0, b'ok\n'), out.stderr)


@test
def a_job_goes_through_over_tls():
    with Authority() as ca, Https(ca) as w:
        env = {'WEIR_SERVER': f'https://localhost:{w.port}', 'WEIR_CA': ca.ca}
        cli('enqueue', 'q', 'hello', env=env, check_status=0)
        s = Program([program(), 'subscribe', 'news', '-n', '1'], env=env)
        try:
            until(lambda: json.loads(cli('status', '--json', env=env)[1])['http']['active'] > 1)
            cli('work', 'q', '--once', '--', 'sh', '-c', 'exit 0', env=env, check_status=0)
            cli('publish', 'news', 'big', env=env, check_status=0)
            check_eq(s.wait(), 0)
            check_in(b'big', s.out)
        finally:
            s.kill()


@test
def who_speaks_no_tls_is_told_so():
    with Authority() as ca, Https(ca) as w:
        a = w.get('/healthz')
        check_eq(a.status, 400)
        check_in('https://', a.text)
        with w.raw() as c:
            c.send(b'\x80\x2e\x01\x00\x02')
            c.read_all()


@test
def a_handshake_has_a_limit_and_holds_up_nobody():
    with Authority() as ca, Https(ca) as w:
        silent = [w.raw() for _ in range(50)]
        half = [w.raw() for _ in range(50)]
        for c in half:
            c.send(b'\x16\x03\x01\x02\x00\x01\x00')
        with connect(w, ca.ca) as s:
            check_in(b'200 OK', ask(s, close=True))
        start = time.monotonic()
        check_eq(half[0].read_all(), b'')
        check_eq(silent[0].read_all(), b'')
        check(time.monotonic() - start > 5, 'it was cut before its limit')
        for c in silent + half:
            c.close()


@test
def a_stop_waits_neither_for_the_silent_nor_for_the_slow():
    with Authority() as ca, Https(ca, '--grace', '30s') as w:
        silent, slow, late = w.raw(), w.raw(), w.raw()
        slow.send(b'\x16\x03\x01\x02\x00\x01\x00')
        inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = ssl.create_default_context(cafile=ca.ca).wrap_bio(inside, outside, server_hostname='localhost')
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outside.read()
        late.send(hello[:100])
        idle = connect(w, ca.ca)
        check_in(b'200 OK', ask(idle))
        until(lambda: cli('status', '--json', '--server', f'https://localhost:{w.port}', '--ca', ca.ca)[0] == 0)
        w.signal(signal.SIGTERM)
        w.wait_err('stopping: ')
        # A handshake that began in time is finished, and its request served.
        late.send(hello[100:])
        answer, asked = b'', False
        while b'\r\n\r\n' not in answer:
            try:
                if not asked:
                    tls.do_handshake()
                    tls.write(b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
                    asked = True
                answer += tls.read(4096)
            except ssl.SSLWantReadError:
                late.send(outside.read())
                check(late._more(), 'it was cut')
                inside.write(late.read_n(len(late.buf)))
        check_in(b'200 OK', answer)
        check_in(b'Connection: close', answer)
        check_eq(idle.recv(1), b'', 'an idle connection ends with a goodbye')
        check_eq(w.wait(LIMIT), 0)
        check_in('stopped cleanly', w.err)
        for c in (silent, slow):
            c.close()


@test
def what_does_not_fit_together_is_refused():
    with Authority() as ca:
        cert, key = ca.make('localhost')
        other = ca.make('other')[1]
        for flags, say in [
                (('--tls-cert', cert), 'needs its --tls-key'),
                (('--tls-cert', cert, '--tls-key', key, '--tls-self-signed'), 'does not go with'),
                (('--tls-client-ca', ca.ca), 'needs --tls-cert'),
                (('--tls-cert', cert, '--tls-key', other), 'key values mismatch'),
                (('--tls-cert', key, '--tls-key', cert), 'no start line'),
                (('--tls-cert', ca.path('absent'), '--tls-key', key), 'No such file')]:
            d = tempfile.mkdtemp(prefix='weir-test-')
            status, _, err = cli('serve', '--data', d, '--listen', '127.0.0.1:0', *flags)
            shutil.rmtree(d)
            check_eq(status, 1, err)
            check_in(say, err)
            check('listening' not in err)


@test
def a_certificate_of_our_own_is_kept():
    d = tempfile.mkdtemp(prefix='weir-test-')
    try:
        seen = []
        for _ in range(2):
            with Weir('--tls-self-signed', data=d) as w:
                with connect(w, os.path.join(d, 'tls.crt')) as s:
                    seen.append(s.getpeercert()['serialNumber'])
                check_eq(os.stat(os.path.join(d, 'tls.key')).st_mode & 0o777, 0o600)
        check_eq(seen[0], seen[1])
    finally:
        shutil.rmtree(d)


@test
def a_login_over_tls_is_never_sent_without():
    with Authority() as ca, tempfile.NamedTemporaryFile('w') as f:
        f.write('root secret-of-root-0123456789 admin\n')
        f.flush()
        os.chmod(f.name, 0o600)
        with Https(ca, '--token-file', f.name) as w:
            c = http.client.HTTPSConnection('localhost', w.port, timeout=LIMIT, context=ssl.create_default_context(cafile=ca.ca))
            a = w.request('POST', '/v1/login', {'token': 'secret-of-root-0123456789'}, conn=c)
            check_eq(a.status, 204, a.text)
            check_in('; Secure', a.headers['set-cookie'])
            c.close()


if __name__ == '__main__':
    main()
