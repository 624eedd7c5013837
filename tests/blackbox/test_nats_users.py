# SPDX-License-Identifier: MIT
"""Who may do what on the NATS listener: users of the token file, key pairs, TLS, and rights that change under way."""
import ssl

from nats_wire import *

TOKENS = '''admin  token-of-the-admin   admin
maker  token-of-the-maker   publish:orders.>
eater  token-of-the-eater   subscribe:orders.>,_INBOX.> publish:answers
queue  token-of-the-queue   put
'''
REFUSED = b"-ERR 'Authorization Violation'\r\n"


def denied(what, subject):
    return f'-ERR \'Permissions Violation for {what} to "{subject}"\'\r\n'.encode()


@contextlib.contextmanager
def with_tokens(text, *flags):
    with tempfile.TemporaryDirectory() as d:
        file = os.path.join(d, 'tokens')
        with open(file, 'w', opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text)
        with NatsWeir('--token-file', file, *flags) as w:
            w.tokens = file
            yield w


@test
def a_client_signs_in_by_token_or_by_name_and_token():
    with with_tokens(TOKENS) as w:
        for login in ({'auth_token': 'token-of-the-admin'}, {'user': 'admin', 'pass': 'token-of-the-admin'}):
            with w.nats(**login) as c:
                check(c.info['auth_required'])
                c.send(b'SUB anything.> 1\r\nPUB anything.at.all 2\r\nhi\r\n')
                check_eq(c.message()[4], b'hi')


@test
def whoever_does_not_sign_in_gets_nowhere():
    with with_tokens(TOKENS) as w:
        for login in ({}, {'auth_token': 'wrong'}, {'user': 'admin'}, {'pass': 'token-of-the-admin'}, {'jwt': 'x.y.z'},
                      {'user': 'maker', 'pass': 'token-of-the-admin'}, {'user': 'admin', 'pass': ''},
                      {'auth_token': ''}, {'nkey': 'UABC', 'sig': 'x'}):
            with w.nats(connect=False) as c:
                c.connect(**login)
                check_eq(c.ended(), REFUSED, login)
        for first in (b'PING\r\n', b'SUB > 1\r\n', b'PUB orders.x 2\r\nhi\r\n', b'+OK\r\n'):
            with w.nats(connect=False) as c:
                c.send(first)
                check_eq(c.ended(), REFUSED, first)
        check_eq(w.get('/varz', headers={'Authorization': 'Bearer token-of-the-admin'}).json['connections'], 0)


@test
def who_never_says_who_it_is_is_sent_away():
    with with_tokens(TOKENS) as w, w.nats(connect=False) as c:
        check_eq(c.ended(), b"-ERR 'Authentication Timeout'\r\n")


@test
def rights_bind_publishing_and_subscribing():
    with with_tokens(TOKENS) as w, w.nats(auth_token='token-of-the-maker') as maker, \
            w.nats(auth_token='token-of-the-eater') as eater:
        eater.send(b'SUB orders.new 1\r\n')
        check_eq(eater.ping(), b'')
        maker.send(b'PUB orders.new 2\r\nhi\r\nPUB other 2\r\nhi\r\nPUB orders.new.* 1\r\nx\r\n')
        check_eq(maker.ping(), denied('Publish', 'other') + denied('Publish', 'orders.new.*'))
        check_eq(eater.message()[4], b'hi')
        maker.send(b'SUB orders.new 1\r\nSUB _INBOX.x 2\r\nSUB orders.a crew 3\r\n')
        check_eq(maker.ping(), denied('Subscription', 'orders.new') + denied('Subscription', '_INBOX.x') +
                 b'-ERR \'Permissions Violation for Subscription to "orders.a" using queue "crew"\'\r\n')
        eater.send(b'SUB > 2\r\nSUB orders 3\r\nSUB *.new 4\r\nPUB answers 2\r\nhi\r\n')
        check_eq(eater.ping(), denied('Subscription', '>') + denied('Subscription', 'orders') +
                 denied('Subscription', '*.new'))


@test
def hup_changes_rights_without_dropping_a_connection():
    with with_tokens(TOKENS) as w, w.nats(auth_token='token-of-the-maker') as maker, \
            w.nats(auth_token='token-of-the-eater') as eater, w.nats(auth_token='token-of-the-queue') as other:
        eater.send(b'SUB orders.new 1\r\nSUB orders.old 2\r\n')
        eater.ping()
        maker.send(b'PUB orders.new 1\r\n1\r\n')
        check_eq(eater.message()[4], b'1')
        with open(w.tokens, 'w') as f:
            f.write(TOKENS.replace('publish:orders.>', 'publish:orders.>,more.>')
                    .replace('subscribe:orders.>,', 'subscribe:orders.new,')
                    .replace('queue  token-of-the-queue   put\n', ''))
        mark = len(w.err)
        w.signal(signal.SIGHUP)
        w.wait_err('was read again', start=mark)
        check_eq(other.ended(), b"-ERR 'User Authentication Revoked'\r\n")
        check_eq(eater.line().encode() + b'\r\n', denied('Subscription', 'orders.old'))
        maker.send(b'PUB more.x 1\r\nx\r\nPUB orders.old 1\r\nx\r\nPUB orders.new 1\r\n2\r\n')
        check_eq(maker.ping(), b'')
        check_eq((eater.message()[4], eater.ping()), (b'2', b''))


@test
def many_subscriptions_that_a_hup_takes_half_of_are_looked_through_once():
    tokens = 'eater token-of-the-eater subscribe:a.>,b.>\n'
    with with_tokens(tokens) as w, w.nats(auth_token='token-of-the-eater') as c:
        c.send(b''.join(b'SUB a.%d %d\r\nSUB b.%d b%d\r\n' % (n, n, n, n) for n in range(20000)))
        check_eq(c.ping(), b'')
        with open(w.tokens, 'w') as f:
            f.write(tokens.replace(',b.>', ''))
        w.signal(signal.SIGHUP)
        w.wait_err('was read again')
        until(lambda: w.get('/metrics').status == 401, 'the server stands still')
        said = c.read_n(sum(len(denied('Subscription', f'b.{n}')) for n in range(20000)))
        check_eq(len(set(said.split(b'\r\n'))), 20001)
        check_eq(c.ping(), b'')


def base32(raw):
    return base64.b32encode(raw).decode().rstrip('=')


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xffff
    return crc


class KeyPair:
    """An Ed25519 key pair by openssl."""

    def __init__(self, d):
        self.file, self.text = os.path.join(d, 'key.pem'), os.path.join(d, 'text')
        self.run('genpkey', '-algorithm', 'ed25519', '-out', self.file)
        raw = bytes([20 << 3]) + self.run('pkey', '-in', self.file, '-pubout', '-outform', 'DER')[-32:]
        self.public = base32(raw + crc16(raw).to_bytes(2, 'little'))

    def run(self, *args):
        return subprocess.run(['openssl', *args], capture_output=True, check=True).stdout

    def sign(self, text):
        with open(self.text, 'w') as f:
            f.write(text)
        sig = self.run('pkeyutl', '-sign', '-inkey', self.file, '-rawin', '-in', self.text)
        return base64.urlsafe_b64encode(sig).decode().rstrip('=')


@test
def a_client_signs_in_with_a_key_pair():
    with tempfile.TemporaryDirectory() as d:
        pair = KeyPair(d)
        with with_tokens(TOKENS + f'robot nkey:{pair.public} publish:robots.>\n') as w:
            with w.nats(connect=False) as c:
                c.connect(nkey=pair.public, sig=pair.sign(c.info['nonce']))
                c.send(b'PUB robots.1 2\r\nhi\r\nPUB x 1\r\nx\r\n')
                check_eq(c.ping(), denied('Publish', 'x'))
            for sig in (pair.sign('another nonce'), '', 'AAAA', '!' * 86):
                with w.nats(connect=False) as c:
                    c.connect(nkey=pair.public, sig=sig)
                    check_eq(c.ended(), REFUSED)
            # What everybody may know lets nobody in.
            with w.nats(connect=False) as c:
                c.connect(auth_token='nkey:' + pair.public)
                check_eq(c.ended(), REFUSED)
            check_eq(w.get('/v1/status', headers={'Authorization': 'Bearer nkey:' + pair.public}).status, 401)


@test
def monitoring_shows_who_is_there_to_the_admin_only():
    with with_tokens(TOKENS) as w, w.nats(auth_token='token-of-the-maker', name='maker one', lang='py', version='1') as c:
        admin = {'Authorization': 'Bearer token-of-the-admin'}
        c.send(b'PUB orders.new 5\r\nhello\r\n')
        c.ping()
        check_eq(w.get('/varz').status, 401)
        check_eq(w.get('/connz', headers={'Authorization': 'Bearer token-of-the-maker'}).status, 403)
        v = w.get('/varz', headers=admin).json
        check_eq((v['connections'], v['in_msgs'], v['in_bytes'], v['port'], v['auth_required']),
                 (1, 1, 5, w.nats_port, True))
        one = w.get('/connz?subs=1', headers=admin).json['connections'][0]
        check_eq((one['name'], one['lang'], one['version'], one['authorized_user'], one['ip'], one['in_msgs']),
                 ('maker one', 'py', '1', 'maker', '127.0.0.1', 1))
        check_eq(w.get('/connz?limit=0', headers=admin).json['connections'], [])
        check_eq(w.get('/subsz', headers=admin).json['num_subscriptions'], 0)


@test
def tls_begins_behind_info_and_is_then_required():
    with tempfile.TemporaryDirectory() as d:
        cert, key = os.path.join(d, 'c.pem'), os.path.join(d, 'k.pem')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, '-days', '1',
                        '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
                       capture_output=True, check=True)
        with NatsWeir('--tls-cert', cert, '--tls-key', key) as w:
            context = ssl.create_default_context(cafile=cert)
            clients = []
            for _ in range(2):
                c = w.nats(connect=False)
                check(c.info['tls_required'])
                c.sock = context.wrap_socket(c.sock, server_hostname='localhost')
                c.connect()
                c.ping()
                clients.append(c)
            a, b = clients
            a.send(b'SUB big 1\r\n')
            a.ping()
            body = os.urandom(300000)
            b.send(b'PUB big 300000\r\n' + body + b'\r\nPUB big 2\r\nhi\r\n')
            check(a.message()[4] == body)
            check_eq(a.message()[4], b'hi')
            with w.nats(connect=False) as c:
                c.connect()
                check_in(b'Secure Connection - TLS Required', c.ended())
            for c in clients:
                c.close()


if __name__ == '__main__':
    main()
