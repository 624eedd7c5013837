# SPDX-License-Identifier: MIT
"""Tokens, rights, cookies, signed subscribe tokens, Origin and Host."""
from weirtest import *

OPS, SHOP, MAILER, READER = 'ops-0123456789abcdef', 'shop-0123456789abcdef', 'mail-0123456789abcdef', 'read-0123456789abcdef'
FILE = f'''# name token rights
ops     {OPS} admin
shop    {SHOP}   put:mail,invoice-*   publish:shop.>
mailer\t{MAILER}\ttake:mail subscribe:weir.jobs.mail.* # its jobs
reader  {READER} subscribe:news.*,shop.new
'''


def token_file(text=FILE):
    f = tempfile.NamedTemporaryFile('w', prefix='weir-tokens-')
    f.write(text)
    f.flush()
    return f


def by(token):
    return {'Authorization': f'Bearer {token}'}


@test
def without_a_token_nothing_but_healthz_answers():
    with token_file() as f, Weir('--token-file', f.name) as w:
        check_eq(w.get('/healthz').status, 200)
        for method, path in [('GET', '/'), ('GET', '/app.js'), ('GET', '/readyz'), ('GET', '/metrics'), ('GET', '/v1/status'),
                             ('GET', '/openapi.json'), ('GET', '/debug/tasks'), ('GET', '/nowhere'), ('POST', '/v1/drain'),
                             ('POST', '/v1/queues/mail/jobs'), ('POST', '/v1/queues/mail/take'), ('GET', '/v1/queues'),
                             ('POST', '/v1/subjects/a'), ('GET', '/v1/subjects/a/events'), ('GET', '/v1/jobs/x/events'),
                             ('POST', '/v1/tokens'), ('POST', '/v1/logout'), ('DELETE', '/v1/jobs/x'), ('OPTIONS', '/v1/queues')]:
            for headers in ({}, by('wrong'), by(''), {'Authorization': 'Basic b3BzOng='}, {'Authorization': OPS},
                            {'Cookie': f'weir_session={OPS}'}):
                a = w.request(method, path, headers=headers)
                check_eq((method, path, headers, a.status), (method, path, headers, 401))
                check_in('Bearer', a.headers['www-authenticate'])
        check_eq(w.get('/v1/status?token=' + OPS).status, 401, 'a real token must not stand in a URL')
        check_eq(w.get('/v1/status', headers=by(OPS)).json['auth'], True)
        check_eq(w.get('/healthz/../v1/status').status in (400, 401), True)


@test
def a_token_may_look_like_a_signed_one():
    with token_file('ops wt_0123456789abcdef admin\n') as f, Weir('--token-file', f.name) as w:
        check_eq(w.get('/v1/status', headers=by('wt_0123456789abcdef')).status, 200)
        check_eq(w.get('/v1/status', headers=by('wt_0123456789abcdee')).status, 401)


@test
def a_token_for_put_cannot_take():
    with token_file() as f, Weir('--token-file', f.name) as w:
        a = w.post('/v1/queues/mail/jobs', b'x', headers=by(SHOP))
        check_eq(a.status, 202)
        id = a.json['id']
        check_eq(w.post('/v1/queues/mail/take', headers=by(SHOP)).status, 403)
        check_eq(w.post('/v1/queues/mail/jobs', b'x', headers=by(MAILER)).status, 403)
        a = w.post('/v1/queues/mail/take', headers=by(MAILER))
        check_eq(a.status, 200)
        lease = a.json[0]['lease']
        for verb in ('ack', 'nack', 'extend', 'progress'):
            check_eq(w.post(f'/v1/jobs/{id}/{verb}?lease={lease}&progress=1', headers=by(SHOP)).status, 403)
        check_eq(w.get(f'/v1/jobs/{id}', headers=by(SHOP)).status, 200)
        check_eq(w.get(f'/v1/jobs/{id}', headers=by(READER)).status, 403)
        check_eq(w.delete(f'/v1/jobs/{id}', headers=by(MAILER)).status, 403)
        check_eq(w.post(f'/v1/jobs/{id}/ack?lease={lease}', headers=by(MAILER)).status, 200)


@test
def rights_hold_for_the_queues_and_subjects_they_name():
    with token_file() as f, Weir('--token-file', f.name) as w:
        for queue, status in [('mail', 202), ('invoice-eu', 202), ('invoice', 403), ('mails', 403), ('other', 403)]:
            check_eq((queue, w.post(f'/v1/queues/{queue}/jobs', b'x', headers=by(SHOP)).status), (queue, status))
            check_eq((queue, w.post(f'/v1/queues/{queue}/jobs:batch', b'{"payload":1}', headers=by(SHOP)).status), (queue, status))
        for subject, status in [('shop.a', 202), ('shop.a.b', 202), ('shop', 403), ('news.a', 403)]:
            check_eq((subject, w.post(f'/v1/subjects/{subject}', b'x', headers=by(SHOP)).status), (subject, status))
        check_eq(w.post('/v1/subjects/other.x/request', b'x', headers=by(SHOP)).status, 403)
        for pattern, status in [('news.a', 200), ('news.*', 200), ('shop.new', 200), ('news.>', 403), ('news', 403), ('>', 403),
                                ('shop.*', 403), ('*.a', 403), ('news.a.b', 403)]:
            with w.events(f'/v1/subjects/{pattern}/events', headers=by(READER)) as e:
                check_eq((pattern, e.status), (pattern, status))
        with w.events('/v1/subjects/weir.jobs.mail.*/events', headers=by(MAILER)) as e:
            check_eq(e.status, 200)
        names = [q['name'] for q in w.get('/v1/queues', headers=by(SHOP)).json['queues']]
        check_eq(sorted(names), ['invoice-eu', 'mail'])
        w.post('/v1/queues/secret/jobs', b'x', headers=by(OPS))
        names = [q['name'] for q in w.get('/v1/queues', headers=by(MAILER)).json['queues']]
        check_eq(names, ['mail'])


@test
def only_admin_may_administer():
    with token_file() as f, Weir('--token-file', f.name) as w:
        w.post('/v1/queues/mail/jobs', b'x', headers=by(OPS))
        for method, path in [('PUT', '/v1/queues/mail'), ('POST', '/v1/queues/mail/pause'), ('POST', '/v1/queues/mail/resume'),
                             ('POST', '/v1/queues/mail/redrive'), ('GET', '/v1/crons'), ('PUT', '/v1/crons/c'),
                             ('POST', '/v1/drain'), ('GET', '/v1/drain/events'), ('GET', '/debug/tasks')]:
            for token in (SHOP, MAILER, READER):
                check_eq((path, w.request(method, path, b'{}', headers=by(token)).status), (path, 403))
        check_eq(w.post('/v1/queues/mail/pause', headers=by(OPS)).status, 200)
        check_eq(w.get('/debug/tasks', headers=by(OPS)).status, 200)


@test
def a_login_gives_a_strict_cookie_that_outlives_a_restart_but_not_its_token():
    data = tempfile.mkdtemp(prefix='weir-test-')
    try:
        with token_file() as f:
            with Weir('--token-file', f.name, data=data) as w:
                check_eq(w.post('/v1/login', {'token': 'wrong'}).status, 401)
                a = w.post('/v1/login', {'token': OPS})
                check_eq(a.status, 204)
                cookie = a.headers['set-cookie']
                for part in ('HttpOnly', 'SameSite=Strict', 'Path=/'):
                    check_in(part, cookie)
                check(OPS not in cookie)
                cookie = {'Cookie': 'other=1; ' + cookie.split(';')[0]}
                check_eq(w.get('/v1/status', headers=cookie).status, 200)
                check_eq(w.get('/debug/tasks', headers=cookie).status, 200)
                forged = cookie['Cookie'][:-1] + ('0' if cookie['Cookie'][-1] != '0' else '1')
                check_eq(w.get('/v1/status', headers={'Cookie': forged}).status, 401)
                a = w.post('/v1/login', f'x=1&token={SHOP}', headers={'Content-Type': 'application/x-www-form-urlencoded'})
                check_eq((a.status, a.headers['location']), (303, '/'))
                page = w.get('/', headers={'Accept': 'text/html'})
                check_eq(page.status, 401)
                check_in('<form', page.text)
            with Weir('--token-file', f.name, data=data) as w:
                check_eq(w.get('/v1/status', headers=cookie).status, 200)
        with token_file(FILE.replace(OPS, 'another-0123456789')) as f, Weir('--token-file', f.name, data=data) as w:
            check_eq(w.get('/v1/status', headers=cookie).status, 401)
    finally:
        shutil.rmtree(data, ignore_errors=True)


@test
def a_subscribe_token_is_good_for_its_pattern_and_time_only():
    with token_file() as f, Weir('--token-file', f.name) as w:
        a = w.post('/v1/tokens', {'subscribe': 'news.*', 'ttl': '1s'}, headers=by(READER))
        check_eq(a.status, 201, a.text)
        check(a.json['expires_at'])
        brief = a.json['token']
        token = w.post('/v1/tokens', {'subscribe': 'news.*'}, headers=by(READER)).json['token']
        for path, status in [('/v1/subjects/news.a/events', 200), ('/v1/subjects/news.*/events', 200), ('/v1/subjects/shop.new/events', 403),
                             ('/v1/subjects/news.>/events', 403)]:
            with w.events(f'{path}?token={token}') as e:
                check_eq((path, e.status), (path, status))
        check_eq(w.get(f'/v1/status?token={token}').status, 403)
        check_eq(w.post(f'/v1/subjects/news.a?token={token}', b'x').status, 401)
        check_eq(w.post('/v1/tokens', {'subscribe': 'news.a'}, headers=by(token)).status, 403)
        for wrong in (token[:-1], token + '0', token.replace('wt_', 'ws_'), 'wt_', 'wt_.', 'wt_00.00', 'x' * 2000, token.upper()):
            with w.events(f'/v1/subjects/news.a/events?token={wrong}') as e:
                check_eq((wrong[:20], e.status), (wrong[:20], 401))
        check_eq(w.post('/v1/tokens', {'subscribe': 'news.>'}, headers=by(READER)).status, 403)
        for bad in ({}, {'subscribe': 'a..b'}, {'subscribe': 'news.a', 'ttl': '2h'}, {'subscribe': 'news.a', 'ttl': 'x'}, [1]):
            check_eq((bad, w.post('/v1/tokens', bad, headers=by(READER)).status), (bad, 400))

        def over():
            with w.events(f'/v1/subjects/news.a/events?token={brief}') as e:
                return e.status == 401
        until(over, 'the token does not expire')


@test
def a_job_is_followed_with_a_subscribe_token():
    with token_file() as f, Weir('--token-file', f.name) as w:
        id = w.post('/v1/queues/mail/jobs', b'x', headers=by(SHOP)).json['id']
        token = w.post('/v1/tokens', {'subscribe': f'weir.jobs.mail.{id}'}, headers=by(MAILER)).json['token']
        with w.events(f'/v1/jobs/{id}/events?token={token}') as e:
            check_eq(e.status, 200)
            check_eq(e.next()['event'], 'queued')
        other = w.post('/v1/queues/mail/jobs', b'x', headers=by(SHOP)).json['id']
        with w.events(f'/v1/jobs/{other}/events?token={token}') as e:
            check_eq(e.status, 403)


def rewrite(f, text):
    f.seek(0)
    f.truncate()
    f.write(text)
    f.flush()


@test
def a_hangup_reads_the_tokens_again():
    with token_file() as f, Weir('--token-file', f.name) as w:
        short = w.post('/v1/tokens', {'subscribe': 'news.sport'}, headers=by(READER)).json['token']
        with w.events(f'/v1/subjects/news.sport/events?token={short}') as e:
            check_eq(e.status, 200)
        new = 'new-0123456789abcdef'
        rewrite(f, FILE.replace('subscribe:news.*,', 'subscribe:news.weather,').replace(SHOP, new))
        w.signal(signal.SIGHUP)
        w.wait_err('was read again: 4 tokens')
        check_eq(w.post('/v1/queues/mail/jobs', b'x', headers=by(SHOP)).status, 401)
        check_eq(w.post('/v1/queues/mail/jobs', b'x', headers=by(new)).status, 202)
        # What a token may no longer do, a token made with it may not either.
        with w.events(f'/v1/subjects/news.sport/events?token={short}') as e:
            check_eq(e.status, 403)
        with w.events('/v1/subjects/news.weather/events', headers=by(READER)) as e:
            check_eq(e.status, 200)
        rewrite(f, 'nonsense\n')
        w.signal(signal.SIGHUP)
        w.wait_err('stays in force')
        check_eq(w.post('/v1/queues/mail/jobs', b'x', headers=by(new)).status, 202)


@test
def a_hangup_without_tokens_ends_nothing():
    with Weir() as w:
        w.signal(signal.SIGHUP)
        check_eq(w.get('/healthz').status, 200)


@test
def a_token_file_that_is_wrong_is_refused_with_its_line():
    for text, what in [('', 'holds no token'), ('a\n', ':1: a line is NAME TOKEN RIGHT'), (f'\n# x\na {OPS}\n', ':3: a has no right'),
                       (f'a {OPS} put:\n', 'is no right'), (f'a {OPS} drive\n', '"drive" is no right'),
                       (f'a {OPS} admin:x\n', 'is no right'), (f'a {OPS} publish:a..b\n', 'is no right'),
                       (f'a {OPS} put\na {SHOP} put\n', ':2: the name a stands there twice')]:
        with token_file(text) as f, tempfile.TemporaryDirectory() as d:
            status, out, err = cli('serve', '--data', d, '--listen', '127.0.0.1:0', '--token-file', f.name)
            check_eq((text, status), (text, 1))
            check_in(what, err)
    with tempfile.TemporaryDirectory() as d:
        status, out, err = cli('serve', '--data', d, '--listen', '127.0.0.1:0', '--token-file', d + '/none')
        check_eq(status, 1)
        check_in('No such file', err)


@test
def a_foreign_origin_or_host_gets_403():
    with Weir() as w:
        own = {'Origin': f'{w.url.rsplit(":", 1)[0]}:{w.port}'}
        check_eq(w.post('/v1/queues/q/jobs', b'x', headers=own).status, 202)
        check_eq(w.post('/v1/queues/q/jobs', b'x').status, 202)
        for origin in ('http://evil.example', 'https://127.0.0.1:1', 'null', 'http://localhost:1', f'http://evil.example:{w.port}'):
            for method, path in [('POST', '/v1/queues/q/jobs'), ('GET', '/v1/queues'), ('GET', '/healthz'), ('GET', '/'),
                                 ('OPTIONS', '/v1/queues/q/jobs'), ('GET', '/nowhere')]:
                a = w.request(method, path, headers={'Origin': origin})
                check_eq((origin, path, a.status), (origin, path, 403))
                check('access-control-allow-origin' not in a.headers)
        for host, status in [('evil.example', 403), (f'evil.example:{w.port}', 403), ('127.0.0.1.evil.example', 403), ('localhost.evil.example', 403),
                             ('localhost', 200), (f'LOCALHOST:{w.port}', 200), ('127.0.0.1:9', 200), ('app.localhost', 200), ('[::1]:80', 200)]:
            with w.raw() as raw:
                raw.send(f'GET /v1/queues HTTP/1.1\r\nHost: {host}\r\n\r\n')
                check_eq((host, raw.answer().status), (host, status))
        check_eq(w.get('/v1/queues/q').json['queued'], 2)


@test
def an_origin_that_was_allowed_may_read_and_write():
    with Weir('--allow-origin', 'https://app.example') as w:
        o = {'Origin': 'https://app.example'}
        a = w.post('/v1/queues/q/jobs', b'x', headers=o)
        check_eq((a.status, a.headers['access-control-allow-origin']), (202, 'https://app.example'))
        a = w.request('OPTIONS', '/v1/queues/q/jobs', headers={**o, 'Access-Control-Request-Method': 'POST',
                                                               'Access-Control-Request-Headers': 'idempotency-key'})
        check_eq(a.status, 204)
        check_in('POST', a.headers['access-control-allow-methods'])
        check_in('Idempotency-Key', a.headers['access-control-allow-headers'])
        check_eq(w.get('/v1/queues', headers={'Origin': 'https://app.example.evil'}).status, 403)
        with w.raw() as raw:
            raw.send('GET /v1/queues HTTP/1.1\r\nHost: app.example\r\n\r\n')
            check_eq(raw.answer().status, 200)


@test
def listening_everywhere_without_a_token_is_warned_of():
    with Weir(listen=':0') as w:
        check_in('asks for no token', w.err)
    with token_file() as f, Weir('--token-file', f.name, listen=':0') as w:
        check('asks for no token' not in w.err)
    with Weir(listen='localhost:0') as w:
        check('asks for no token' not in w.err)


if __name__ == '__main__':
    main()
