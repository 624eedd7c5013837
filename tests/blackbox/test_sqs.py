# SPDX-License-Identifier: MIT
"""What is SQS's own: keys and their end, refusals, throttling, clocks, foreign messages, TLS. With the repo's own server of its
protocol, which checks every signature."""
import urllib.request

from test_engines import *

tests.clear()  # those of the other file


def control(n, **what):
    with urllib.request.urlopen(f'http://127.0.0.1:{n.port}/_control', json.dumps(what).encode(), timeout=LIMIT) as a:
        return json.load(a)


def sqs(**env):
    """A test with a server; weirs get this environment too, where {port} is the server's."""
    def decorate(fn):
        @functools.wraps(fn)
        def wrapped():
            if Sqs.missing():
                print(f'skipped: {Sqs.missing()}')
                return
            with Sqs() as n:
                n.env = {k: v.format(port=n.port) for k, v in env.items()}
                fn(n)
        return test(wrapped)
    return decorate


def weir_on(n, *flags, **env):
    return Weir('--store', n.url, *flags, env={**n.env, **env})


def start_fails(n, **env):
    """What weir says when it cannot start."""
    with tempfile.TemporaryDirectory() as d:
        p = subprocess.run([program(), 'serve', '--listen', '127.0.0.1:0', '--data', d, '--store', n.url], capture_output=True, text=True,
                           timeout=60, env={**os.environ, **n.env, **env})
    check_eq(p.returncode, 1, p.stderr)
    return p.stderr


def goes_on(w):
    """Soon: a key is asked for once a second at most."""
    until(lambda: w.post('/v1/queues/q/jobs', b'z').status == 202, 'no put is accepted any more')


@sqs()
def a_payload_is_the_body_as_it_is_or_base64(n):
    with weir_on(n) as w:
        w.enqueue('q', 'grüße\n', Weir_Key='k')
        w.enqueue('q', b'\x00\xff')
        w.enqueue('q', b'')
        w.enqueue('q', '\ufffe')
        bodies = {b: {k: v['StringValue'] for k, v in a.items()} for b, a in control(n)['messages']['q']}
        check_eq(set(bodies), {'grüße\n', 'AP8=', '-', '77++'})
        check_eq(bodies['grüße\n']['Weir-Key'], 'k')
        check(all(len(a) <= 10 for a in bodies.values()))
        check('Weir-Encoding' not in bodies['grüße\n'])
        got = [w.take('q', wait='10s')[0] for _ in range(4)]
        check_eq(sorted(base64.b64decode(j['payload_base64']) if 'payload_base64' in j else j['payload'].encode() for j in got),
                 sorted([b'\x00\xff', b'', 'grüße\n'.encode(), '\ufffe'.encode()]))


@sqs()
def a_message_that_somebody_else_put_is_a_job(n):
    with weir_on(n) as w:
        w.enqueue('q', b'x')
        check_eq(w.ack(w.take('q', wait='10s')[0]).status, 200)
        control(n, put=['q', 'from elsewhere'])
        job, = w.take('q', wait='10s')
        check_eq(job['payload'], 'from elsewhere')
        check(re.match(r'[0-7][0-9A-HJKMNP-TV-Z]{25}$', job['id']), job['id'])
        check_eq(w.ack(job).status, 200)
        check_eq(control(n)['messages']['q'], [])


@sqs()
def a_large_message_goes_alone_and_a_larger_one_is_refused(n):
    with weir_on(n) as w:
        lines = b''.join(b'{"payload":"%s"}\n' % (b'x' * 200000) for _ in range(4))
        check_eq([v['state'] for v in w.post('/v1/queues/q/jobs:batch', lines).lines], ['queued'] * 4)
        check_eq(w.post('/v1/queues/q/jobs', b'x' * 1048000).status, 202)
        check_eq(w.post('/v1/queues/q/jobs', b'\0' * 1000000).status, 413)
        check_eq(sum(len(j['payload']) for j in (w.take('q', wait='10s')[0] for _ in range(5))), 4 * 200000 + 1048000)


@sqs()
def a_delay_is_kept_up_to_fifteen_minutes_and_refused_beyond(n):
    with weir_on(n) as w:
        w.enqueue('q', b'x', Weir_Delay='900s')
        a = w.post('/v1/queues/q/jobs', b'x', headers={'Weir-Delay': '901s'})
        check_eq(a.status, 501)
        check_in('delay above 15m', a.json['detail'])
        check_eq(w.get('/v1/queues/q').json['delayed'], 1)
        check_eq(w.take('q'), [])


@sqs()
def the_dead_are_a_queue_that_says_why(n):
    with weir_on(n) as w:
        w.enqueue('q', b'x', Weir_Max_Attempts=1)
        job, = w.take('q', wait='10s')
        check_eq(w.post(f'/v1/jobs/{job["id"]}/nack', {'lease': job['lease'], 'error': 'it\x01broke'}).status, 200)
        (body, attributes), = control(n)['messages']['q-dead']
        check_eq(body, 'x')
        check_eq(attributes['Weir-Why']['StringValue'], 'it broke')
        check_eq(attributes['Weir-Id']['StringValue'], job['id'])
        check_eq(w.get('/v1/queues/q').json['dead'], 1)
        check_eq(w.take('q-dead', wait='10s')[0]['id'], job['id'])


def dies(w, *payloads):
    for p in payloads:
        w.enqueue('q', p, Weir_Max_Attempts=1)
        job, = w.take('q', wait='10s')
        check_eq(w.post(f'/v1/jobs/{job["id"]}/nack', {'lease': job['lease']}).status, 200)


@sqs()
def a_dead_message_that_cannot_be_sent_stays_and_the_others_come_back(n):
    with weir_on(n) as w:
        dies(w, b'a')
        control(n, put=['q-dead', 'x' * (1 << 20)])  # with an id of ours it is too large
        dies(w, b'b')
        a = w.post('/v1/queues/q/redrive').json
        check_eq((a['redriven'], a['left']), (2, 1), a)
        check_in('larger than SQS takes', a['why'])
        w.wait_err('1 of the dead of q are left there')
        check_eq(sorted(m[0] for m in control(n)['messages']['q']), ['a', 'b'])
        check_eq(len(control(n)['messages']['q-dead']), 1)


@sqs()
def a_batch_of_the_dead_that_is_refused_for_one_of_them_is_sent_one_by_one(n):
    with weir_on(n) as w:
        dies(w, b'a', b'b', b'c')
        control(n, fail={'action': 'SendMessageBatch', 'code': 'InvalidMessageContents', 'times': 2})  # the batch, and the first alone
        p = subprocess.run([program(), 'queues', 'redrive', 'q', '--server', w.url], capture_output=True, text=True, timeout=60)
        check_eq(p.returncode, 0, p.stderr)
        check(re.fullmatch('2 jobs are back in q\n1 job is left among the dead: [0-9A-Z]{26}: SQS refuses it, the log says why\n', p.stdout), p.stdout)
        check_eq(len(control(n)['messages']['q-dead']), 1)
        # It is not hidden there, and the next redrive finds it.
        check_eq(w.post('/v1/queues/q/redrive').json, {'redriven': 1})


@sqs()
def a_redrive_that_sqs_throttles_or_refuses_says_so_and_loses_none(n):
    with weir_on(n) as w:
        dies(w, b'a', b'b')
        for fail, why in (
                ({'action': 'SendMessageBatch', 'code': 'ThrottlingException', 'times': 4}, '2 stay dead: SQS throttles requests'),
                ({'action': 'SendMessageBatch', 'code': 'AccessDeniedException', 'times': 1}, '2 stay dead: SQS refuses our key'),
                ({'action': 'GetQueueAttributes', 'code': 'AccessDeniedException', 'times': 2}, 'none came back: SQS refuses our key')):
            control(n, fail=fail)
            a = w.post('/v1/queues/q/redrive')
            check_eq(a.status, 503, a)
            check_in(why, a.text)
            check_eq(len(control(n, fail={'action': '', 'times': 0})['messages']['q-dead']), 2)
        check_eq(w.post('/v1/queues/q/redrive').json, {'redriven': 2})


@sqs()
def what_is_hidden_among_the_dead_is_told_as_left(n):
    with weir_on(n) as w:
        dies(w, b'a', b'b')
        control(n, hide='q-dead')
        a = w.post('/v1/queues/q/redrive').json
        check_eq((a['redriven'], a['left']), (1, 1), a)
        check_in('SQS counts them and does not give them', a['why'])


@sqs()
def a_throttled_request_is_made_again(n):
    with weir_on(n) as w:
        w.enqueue('q', b'x')
        control(n, fail={'action': 'SendMessageBatch', 'code': 'ThrottlingException', 'times': 3})
        w.enqueue('q', b'y')
        control(n, fail={'action': 'SendMessageBatch', 'code': 'InternalFailure', 'status': 500, 'times': 3})
        w.enqueue('q', b'z')
        control(n, fail={'action': 'SendMessageBatch', 'code': 'ThrottlingException', 'times': 100})
        a = w.post('/v1/queues/q/jobs', b'x')
        check_eq(a.status, 503)
        check_in('retry-after', a.headers)
        w.wait_err('SQS throttles SendMessageBatch')
        check_eq(len(control(n, fail={'action': '', 'times': 0})['messages']['q']), 3)
        w.enqueue('q', b'x')


@sqs()
def a_queue_that_was_deleted_is_made_again(n):
    with weir_on(n) as w:
        w.enqueue('q', b'x')
        control(n, forget='q')
        w.enqueue('q', b'y')
        check_eq(w.take('q', wait='10s')[0]['payload'], 'y')


@sqs()
def a_missing_right_is_named_in_the_log_and_is_a_503(n):
    with weir_on(n) as w:
        control(n, fail={'action': 'SendMessageBatch', 'code': 'AccessDeniedException', 'why': 'not you', 'status': 400, 'times': 9})
        check_eq(w.post('/v1/queues/q/jobs', b'x').status, 503)
        w.wait_err('refuses SendMessageBatch: AccessDeniedException: not you .region us-east-1.')
        control(n, fail={'action': '', 'times': 0})
        w.enqueue('q', b'x')


@sqs()
def a_wrong_key_or_none_is_no_start_and_says_why(n):
    check_in('UnrecognizedClientException', start_fails(n, AWS_ACCESS_KEY_ID='AKIDOTHER'))
    check_in('InvalidSignatureException', start_fails(n, AWS_SECRET_ACCESS_KEY='other'))
    said = start_fails(n, AWS_ACCESS_KEY_ID='', HOME='/nonexistent', AWS_PROFILE='mine', AWS_CONFIG_FILE='/nonexistent/c')
    check_in('no AWS key: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set, the profile mine has none in ~/.aws/credentials or '
             '/nonexistent/c, and neither', said)
    check('refuses' not in said, said)  # it was not asked
    n.kill()
    check_in('cannot be reached', start_fails(n))
    n.url += '?wait=21'
    check_in('wait=1', start_fails(n))


@sqs()
def a_name_that_is_not_known_is_a_service_that_cannot_be_reached(n):
    n.url = 'sqs+http://nowhere.invalid:9324'
    check_in('cannot be reached', start_fails(n))


@sqs()
def a_url_that_is_wrong_is_not_in_the_log_since_it_may_have_a_secret(n):
    n.url = f'sqs+http://AKIDEXAMPLE:hunter2@127.0.0.1:{n.port}'
    said = start_fails(n)
    check_in('the URL of SQS is', said)
    check('hunter2' not in said, said)


@sqs()
def a_queue_that_was_gone_for_one_request_gets_the_jobs_of_the_others_once(n):
    with weir_on(n) as w:
        w.enqueue('q', b'x')
        control(n, fail={'action': 'SendMessageBatch', 'code': 'QueueDoesNotExist', 'times': 1})
        a = w.post('/v1/queues/q/jobs:batch', b''.join(b'{"payload":"%d"}\n' % i for i in range(40)))
        check_eq(a.status, 202)
        check_eq(sorted(m[0] for m in control(n)['messages']['q']), sorted(['x', *map(str, range(40))]))


@sqs()
def lists_where_objects_should_be_are_no_answer(n):
    with weir_on(n) as w:
        w.enqueue('q', b'x')
        control(n, say={'SendMessageBatch': {'Successful': [['Id', True]]}, 'GetQueueAttributes': {'Attributes': ['1']}})
        check_eq(w.post('/v1/queues/q/jobs', b'y').status, 503)
        check_eq(w.get('/v1/queues/q').status, 200)


@sqs()
def a_clock_that_is_wrong_is_explained_and_got_along_with(n):
    control(n, clock=3600)
    with weir_on(n) as w:
        w.wait_err('its clock is 3600 s behind')
        w.enqueue('q', b'x')
        control(n, clock=-3600)
        w.enqueue('q', b'y')
        w.wait_err('its clock is 3600 s ahead of')


@sqs(AWS_ACCESS_KEY_ID='', AWS_CONTAINER_CREDENTIALS_FULL_URI='http://127.0.0.1:{port}/keys',
     AWS_CONTAINER_AUTHORIZATION_TOKEN='Bearer t', HOME='/nonexistent')
def a_containers_key_is_renewed_before_it_ends(n):
    control(n, life=4)
    with weir_on(n) as w:
        until(lambda: w.enqueue('q', b'x') and control(n)['counted']['keys'] >= 3)
        # Not once was it too late.
        check('refuses' not in w.err, w.err)
        # And one that the service takes back.
        control(n, life=3600)
        until(lambda: w.enqueue('q', b'x') and control(n)['counted']['keys'] >= 4)
        control(n, forget_keys=True)
        before = control(n)['counted']['keys']
        goes_on(w)
        check_eq(control(n)['counted']['keys'], before + 1)


@sqs(AWS_ACCESS_KEY_ID='')
def a_key_in_a_file_may_be_changed_while_weir_runs(n):
    with tempfile.NamedTemporaryFile('w') as f:
        def write(id, secret):
            f.seek(0)
            f.truncate()
            f.write(f'[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n')
            f.flush()
        control(n, keys={'A': ['a', None, None]})
        write('A', 'a')
        with weir_on(n, AWS_SHARED_CREDENTIALS_FILE=f.name) as w:
            w.enqueue('q', b'x')
            control(n, forget_keys=True, keys={'B': ['b', None, None]})
            write('B', 'b')
            goes_on(w)


@sqs()
def jobs_of_many_share_requests(n):
    with weir_on(n) as w:
        w.enqueue('q', b'0')
        before = control(n)['counted']['SendMessageBatch']
        lines = b''.join(b'{"payload":"%d"}\n' % i for i in range(200))
        check_eq(w.post('/v1/queues/q/jobs:batch', lines).status, 202)
        check(control(n)['counted']['SendMessageBatch'] - before <= 30)
        check_eq(len(control(n)['messages']['q']), 201)


@sqs()
def over_https_the_certificate_is_checked(n):
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj',
                        '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', f'{d}/key', '-out', f'{d}/cert'], check=True,
                       capture_output=True)
        n.kill()
        n.options = ('--tls', f'{d}/cert', f'{d}/key')
        n.start()
        n.url = f'sqs+https://127.0.0.1:{n.port}'
        check_in('certificate', start_fails(n).lower())
        with weir_on(n, AWS_CA_BUNDLE=f'{d}/cert') as w:
            w.enqueue('q', b'x')
            check_eq(w.ack(w.take('q', wait='10s')[0]).status, 200)


if __name__ == '__main__':
    main()
