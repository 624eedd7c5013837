# SPDX-License-Identifier: MIT
"""The HTTP API: every route does what doc/api.md says."""
from weirtest import *

W = None


def server():
    return W


@test
def a_job_is_put_taken_acked_and_shown_as_done():
    w = server()
    a = w.post('/v1/queues/mail/jobs', b'hello', headers={'Content-Type': 'text/plain'})
    check_eq(a.status, 202, a.text)
    check_eq({k: a.json[k] for k in ('queue', 'state', 'durability')},
             {'queue': 'mail', 'state': 'queued', 'durability': 'fsync'})
    id = a.json['id']
    check_eq(a.headers['location'], f'/v1/jobs/{id}')
    check_eq(a.headers['content-type'], 'application/json')
    [job] = w.take('mail')
    check_eq((job['id'], job['payload'], job['content_type'], job['attempt']), (id, 'hello', 'text/plain', 1))
    check_eq(w.job(id)['state'], 'running')
    a = w.ack(job, b'the result')
    check_eq((a.status, a.json['state']), (200, 'done'))
    j = w.job(id)
    check_eq((j['state'], j['result'], j['attempts']), ('done', 'the result', 1))
    check_eq([h['event'] for h in j['history']], ['queued', 'running', 'done'])
    check('payload' not in j)
    check_eq(w.get(f'/v1/jobs/{id}?payload=true').json['payload'], 'hello')


@test
def the_events_of_a_job_come_with_their_history_and_end_with_it():
    w = server()
    id = w.enqueue('ev', b'1')
    with w.events(f'/v1/jobs/{id}/events') as e:
        check_eq(e.status, 200)
        check_eq(e.headers['content-type'], 'text/event-stream')
        check_eq(e.next()['event'], 'queued')
        [job] = w.take('ev')
        got = e.next()
        check_eq((got['event'], json.loads(got['data'])['state']), ('running', 'running'))
        w.post(f'/v1/jobs/{id}/progress?lease={job["lease"]}&progress=0.5&note=half')
        got = e.next()
        check_eq((got['event'], json.loads(got['data'])['progress'], json.loads(got['data'])['note']),
                 ('progress', 0.5, 'half'))
        w.ack(job, b'42')
        got = e.next()
        check_eq((got['event'], json.loads(got['data'])['result']), ('done', '42'))
        last = got['id']
        check_eq(e.next(), None)
        check(e.clean, 'the stream was cut')
    with w.events(f'/v1/jobs/{id}/events') as e:
        check_eq([x['event'] for x in e.all()], ['queued', 'running', 'done'])
    with w.events(f'/v1/jobs/{id}/events', headers={'Last-Event-ID': '1'}) as e:
        check_eq([x['event'] for x in e.all()], ['running', 'done'])
    with w.events(f'/v1/jobs/{id}/events', headers={'Last-Event-ID': last}) as e:
        check_eq(e.status, 204)


@test
def a_failed_run_is_told_and_the_job_delayed_then_dead():
    w = server()
    id = w.enqueue('fail', b'x', Weir_Max_Attempts=2)
    with w.events(f'/v1/jobs/{id}/events') as e:
        [job] = w.take('fail')
        a = w.post(f'/v1/jobs/{id}/nack', {'lease': job['lease'], 'delay': '0', 'error': 'no luck'})
        check_eq(a.status, 200, a.text)
        [job] = w.take('fail', wait='10s')
        check_eq(job['attempt'], 2)
        a = w.post(f'/v1/jobs/{id}/nack?lease={job["lease"]}&error=again')
        check_eq(a.json['state'], 'dead', a.text)
        names = [x['event'] for x in e.all()]
        check_eq(names.count('failed'), 2, names)
        check_eq(names[-1], 'dead', names)
    check_eq(w.job(id)['error'], 'again')
    check_eq(w.post(f'/v1/queues/fail/redrive').json, {'redriven': 1})
    check_eq(w.job(id)['state'], 'queued')


@test
def a_lease_that_has_ended_is_refused():
    w = server()
    id = w.enqueue('stale')
    [job] = w.take('stale', lease='1s')
    [again] = w.take('stale', wait='10s')
    check_eq(again['id'], id)
    for verb in ('ack', 'nack', 'extend'):
        a = w.post(f'/v1/jobs/{id}/{verb}?lease={job["lease"]}')
        check_eq((verb, a.status), (verb, 409))
    check_eq(w.post(f'/v1/jobs/{id}/progress?lease={job["lease"]}&progress=1').status, 409)
    check_eq(w.post(f'/v1/jobs/{id}/extend?lease={again["lease"]}&for=30s').json, {'cancel': False})
    check_eq(w.ack(again).status, 200)
    check_eq(w.ack(again).status, 409)
    check_eq(w.post(f'/v1/jobs/{id}/ack').status, 400)


@test
def the_lease_may_stand_in_the_query_a_header_or_the_body():
    w = server()
    for n in range(3):
        id = w.enqueue('where')
        [job] = w.take('where')
        if n == 0:
            a = w.post(f'/v1/jobs/{id}/ack?lease={job["lease"]}', b'{"a":1}')
        elif n == 1:
            a = w.post(f'/v1/jobs/{id}/ack', b'{"a":1}', headers={'Weir-Lease': job['lease']})
        else:
            a = w.post(f'/v1/jobs/{id}/ack', {'lease': job['lease'], 'result': {'a': 1}})
        check_eq(a.status, 200, a.text)
        check_eq(w.job(id)['result'], '{"a":1}')


@test
def cancel_reaches_the_worker_of_a_running_job():
    w = server()
    waiting = w.enqueue('cancel')
    a = w.delete(f'/v1/jobs/{waiting}')
    check_eq((a.status, a.json['state']), (200, 'cancelled'))
    check_eq(w.delete(f'/v1/jobs/{waiting}').status, 409)
    id = w.enqueue('cancel')
    [job] = w.take('cancel')
    a = w.delete(f'/v1/jobs/{id}')
    check_eq((a.status, a.json['state'], a.json.get('cancel')), (200, 'running', True), a.text)
    check_eq(w.post(f'/v1/jobs/{id}/extend?lease={job["lease"]}').json, {'cancel': True})
    check_eq(w.post(f'/v1/jobs/{id}/nack?lease={job["lease"]}').json['state'], 'cancelled')
    a = w.post(f'/v1/jobs/{id}/retry')
    check_eq((a.status, a.json['state']), (202, 'queued'))
    check_eq(w.post(f'/v1/jobs/{id}/retry').status, 409)


@test
def the_same_idempotency_key_gives_the_same_job():
    w = server()
    a = w.post('/v1/queues/idem/jobs', b'1', headers={'Idempotency-Key': 'k1'})
    b = w.post('/v1/queues/idem/jobs', b'1', headers={'Idempotency-Key': 'k1'})
    c = w.post('/v1/queues/idem/jobs', b'1', headers={'Idempotency-Key': 'k2'})
    check_eq([a.status, b.status, c.status], [202] * 3)
    check_eq(a.json['id'], b.json['id'])
    check(b.json.get('duplicate') is True and 'duplicate' not in a.json)
    check(a.json['id'] != c.json['id'])


@test
def delay_and_priority_decide_the_order():
    w = server()
    late = w.post('/v1/queues/order/jobs', b'late', headers={'Weir-Delay': '1h'})
    check_eq(late.json['state'], 'delayed')
    normal = w.enqueue('order', b'normal')
    soon = w.enqueue('order', b'soon', Weir_Priority=-5)
    check_eq([j['id'] for j in w.take('order', max=10)], [soon, normal])
    w.post('/v1/queues/order/jobs', b'later', headers={'Weir-Delay': '300ms'})
    check_eq(w.take('order'), [])
    check_eq([j['payload'] for j in w.take('order', wait='10s')], ['later'])


@test
def take_waits_until_a_job_comes():
    w = server()
    got = []
    t = threading.Thread(target=lambda: got.extend(w.take('wait', wait='20s')))
    t.start()
    until(lambda: any('take' in (x.get('waits_on') or '') or 'job' in (x.get('waits_on') or '')
                      for x in w.get('/debug/tasks').json['tasks']), 'nobody waits for a job')
    id = w.enqueue('wait')
    t.join(LIMIT)
    check_eq([j['id'] for j in got], [id])
    start = time.monotonic()
    check_eq(w.post('/v1/queues/wait/take?wait=200ms').status, 204)
    check(0.19 < time.monotonic() - start < 5)


@test
def a_lease_of_a_connection_ends_with_it():
    w = server()
    id = w.enqueue('conn')
    c = w.connect()
    [job] = w.request('POST', '/v1/queues/conn/take?lease=connection', conn=c).json
    check_eq(w.job(id)['state'], 'running')
    start = time.monotonic()
    c.close()
    [again] = w.take('conn', wait='10s')
    check_eq((again['id'], again['attempt']), (id, 2))
    check(time.monotonic() - start < 5, 'it waited for a clock')
    check_eq(w.ack(job).status, 409)
    check_eq(w.ack(again).status, 200)
    with w.raw() as raw:
        id = w.enqueue('conn')
        raw.send('POST /v1/queues/conn/take?lease=connection HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n')
        [job] = raw.answer().json
        check_eq(w.ack(job, b'by another connection').status, 200)
    check_eq(w.job(id)['state'], 'done')


@test
def a_wrong_lease_does_not_part_a_job_from_its_connection():
    w = server()
    id = w.enqueue('parted')
    c = w.connect()
    [job] = w.request('POST', '/v1/queues/parted/take?lease=connection', conn=c).json
    check_eq(w.request('POST', f'/v1/jobs/{id}/ack?lease=wrong', conn=c).status, 409)
    check_eq(w.job(id)['state'], 'running')
    c.close()
    [again] = w.take('parted', wait='10s')
    check_eq(again['id'], id)
    check_eq(w.ack(again).status, 200)


@test
def a_payload_of_a_batch_and_a_result_may_hold_nul():
    w = server()
    a = w.post('/v1/queues/nul/jobs:batch', b'{"payload":"a\\u0000b"}\n{"payload":"c","key":"a\\u0000b"}\n')
    verdicts = [json.loads(l) for l in a.text.splitlines()]
    check_eq(verdicts[0].get('state'), 'queued', a.text)
    check_eq((verdicts[1].get('status'), verdicts[1].get('detail')), (400, 'key holds a NUL'))
    [job] = w.take('nul')
    check_eq(job['payload'], 'a\0b')
    a = w.post(f'/v1/jobs/{job["id"]}/ack', {'lease': job['lease'], 'result': '\0'})
    check_eq((a.status, w.job(job['id'])['result']), (200, '\0'), a.text)


@test
def head_of_a_stream_is_its_head_only():
    w = server()
    id = w.enqueue('heads')
    for path in ('/v1/subjects/heads/events', '/v1/subjects/heads/events?group=g', f'/v1/jobs/{id}/events'):
        c = w.connect()
        a = w.request('HEAD', path, conn=c)
        check_eq((path, a.status, a.headers['content-type']), (path, 200, 'text/event-stream'))
        check_eq(w.request('GET', '/healthz', conn=c).status, 200)
        c.close()


@test
def a_note_alone_is_progress_too():
    w = server()
    id = w.enqueue('noted')
    [job] = w.take('noted')
    a = w.post(f'/v1/jobs/{id}/progress?lease={job["lease"]}&progress=0.25&note=one')
    check_eq((a.status, a.json), (200, {'cancel': False}))
    a = w.post(f'/v1/jobs/{id}/progress?lease={job["lease"]}&note=two')
    check_eq((a.status, a.json), (200, {'cancel': False}), a.text)
    j = w.job(id)
    check_eq((j['progress'], j['note']), (0.25, 'two'))
    check_eq(w.post(f'/v1/jobs/{id}/progress?lease={job["lease"]}').status, 400)
    w.ack(job)


@test
def a_client_that_left_while_it_waited_gets_no_job():
    w = server()
    raws = [w.raw() for _ in range(5)]
    for raw in raws:
        raw.send('POST /v1/queues/gone/take?wait=60s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n')
    until(lambda: w.get('/v1/status').json['http']['active'] >= 6, 'the takes do not run')
    for raw in raws:
        raw.close()
    until(lambda: w.get('/v1/status').json['http']['active'] == 1, 'the takes do not end')
    id = w.enqueue('gone')
    check_eq([j['id'] for j in w.take('gone')], [id])


@test
def jobs_given_to_clients_that_leave_at_that_moment_come_back():
    w = server()
    ids, got = set(), []
    for round in range(30):
        raws = [w.raw() for _ in range(8)]
        for n, raw in enumerate(raws):
            raw.send('POST /v1/queues/leave/take?wait=60s&lease=connection HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n')
        until(lambda: w.get('/v1/status').json['http']['active'] >= 9, 'the takes do not run')
        first = threading.Event()

        def puts():
            for _ in range(8):
                ids.add(w.enqueue('leave'))
                first.set()

        put = threading.Thread(target=puts)
        put.start()
        if round % 3 == 0:
            first.wait(LIMIT)  # So one of them surely has a job.
        for raw in raws:
            if round % 2:
                raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')  # A reset.
            raw.close()
        put.join()
        until(lambda: w.get('/v1/status').json['http']['active'] == 1, 'the takes do not end')
        until(lambda: w.get('/v1/queues/leave').json['running'] == 0, 'a lease outlives its connection')
        for j in w.take('leave', max=100):
            got.append(j)
            w.ack(j)
    check_eq(sorted(j['id'] for j in got), sorted(ids))
    # Whether such a client had read its job nobody knows: each of them has ended an attempt.
    # (A tunnel tells of it later.)
    check(TLS or max(j['attempt'] for j in got) > 1, 'no client left at that moment')


@test
def bytes_that_are_no_text_travel_as_base64():
    w = server()
    data = bytes(range(256))
    id = w.enqueue('bin', data)
    [job] = w.take('bin')
    check_eq(base64.b64decode(job['payload_base64']), data)
    w.ack(job, data)
    check_eq(base64.b64decode(w.job(id)['result_base64']), data)
    id = w.enqueue('bin', 'Grüße, 世界 "\\\n'.encode())
    check_eq(w.take('bin')[0]['payload'], 'Grüße, 世界 "\\\n')
    w.enqueue('bin', b'')
    check_eq(w.take('bin')[0]['payload'], '')


@test
def a_batch_gets_a_verdict_a_line():
    w = server()
    body = b'\n'.join([
        b'{"payload":"text","priority":-1}', b'{"payload":{"a":[1,2]}}', b'nonsense', b'{"payload":1,"delay":"1x"}', b'',
        b'{"payload_base64":"AAE="}', b'[]', b'{"payload":"k","idempotency_key":"b"}', b'{"payload":"k","idempotency_key":"b"}'])
    a = w.post('/v1/queues/batch/jobs:batch', body)
    check_eq(a.status, 202, a.text)
    lines = a.lines
    check_eq([l.get('status', l.get('state')) for l in lines], ['queued', 'queued', 400, 400, 'queued', 400, 'queued', 'queued'])
    check_eq(lines[6]['id'], lines[7]['id'])
    jobs = w.take('batch', max=10)
    check_eq([j.get('payload', j.get('payload_base64')) for j in jobs], ['text', '{"a":[1,2]}', 'AAE=' if 'payload_base64' in jobs[2] else '\x00\x01', 'k'])
    check_eq(jobs[1]['content_type'], 'application/json')
    a = w.post('/v1/queues/batch/jobs:batch', b'{"payload":1}\n' * 1001)
    check_eq(a.status, 413)


@test
def jobs_are_listed_by_state_and_page():
    w = server()
    ids = [w.enqueue('list') for _ in range(7)]
    w.take('list', max=2)
    check_eq([j['id'] for j in w.get('/v1/queues/list/jobs').json['jobs']], ids)
    check_eq([j['id'] for j in w.get('/v1/queues/list/jobs?state=running').json['jobs']], ids[:2])
    page = w.get('/v1/queues/list/jobs?state=queued&limit=3').json
    check_eq([j['id'] for j in page['jobs']], ids[2:5])
    check_eq(page['next'], ids[4])
    page = w.get(f'/v1/queues/list/jobs?state=queued&limit=3&after={page["next"]}').json
    check_eq(([j['id'] for j in page['jobs']], page['next']), (ids[5:], None))
    check_eq(w.get('/v1/queues/list/jobs?state=odd').status, 400)
    check_eq(w.get('/v1/queues/list/jobs?limit=0').status, 400)
    check_eq(w.get('/v1/queues/nowhere/jobs').status in (200, 404), True)


@test
def a_queue_has_settings_and_can_be_paused():
    w = server()
    a = w.put('/v1/queues/set', {'max': 2, 'lease': '5s', 'max_attempts': 3, 'concurrency': 1})
    check_eq(a.status, 200, a.text)
    s = w.get('/v1/queues/set').json['settings']
    check_eq((s['max'], s['lease'], s['max_attempts'], s['concurrency']), (2, '5s', 3, 1))
    w.enqueue('set')
    w.enqueue('set')
    check_eq(w.post('/v1/queues/set/jobs', b'x').status, 503)
    check_eq(len(w.take('set', max=5)), 1)
    check_eq(w.post('/v1/queues/set/pause').json['paused'], True)
    check_eq(w.post('/v1/queues/set/resume').json['paused'], False)
    for bad in ({'max': 'many'}, {'lease': '5'}, {'maxx': 1}, [1], {'rate': -1}):
        check_eq((str(bad), w.put('/v1/queues/set', bad).status), (str(bad), 400))
    for wrong, right in ('burst', 'rate_burst'), ('attempts', 'max_attempts'), ('key-concurrency', 'key_concurrency'):
        check_in(f'{wrong} is not known here; did you mean {right}?', w.put('/v1/queues/set', {wrong: 1}).json['detail'])
    check_eq(w.put('/v1/queues/set', {'exec': ['true']}).json['detail'], 'exec is not known here')
    check_eq(w.get('/v1/queues/never').status, 404)
    names = [q['name'] for q in w.get('/v1/queues').json['queues']]
    check_in('set', names)


@test
def what_is_wrong_with_a_job_is_told_and_no_part_of_it_is_lost():
    w = server()
    name = "not a queue's name: 1 to 64 of A-Z a-z 0-9 . _ -, and no dot first"
    for a in w.post('/v1/queues/a%20b/jobs', b'x'), w.post('/v1/queues/.a/jobs:batch', b'{}'), w.post('/v1/queues/a%20b/take'), \
            w.put('/v1/queues/a%20b', {}), w.post('/v1/queues/a%20b/pause'):
        check_eq((a.status, a.json['detail']), (400, name))
    for header in 'Weir-Key', 'Idempotency-Key', 'Content-Type':
        a = w.post('/v1/queues/wrong/jobs', b'x', headers={header: 'k' * 256})
        check_eq(a.status, 400)
        check_in('a key has at most 255 bytes and a content type 95', a.json['detail'])
    lines = b'{"payloda":"x"}\n{"payload":"y","weir-delay":"1h"}\n{"payload":"z","key":"%s"}\n\n{"payload":"fine"}' % (b'k' * 256)
    verdicts = [json.loads(line) for line in w.post('/v1/queues/wrong/jobs:batch', lines).text.splitlines()]
    check_eq([v.get('detail', v.get('state')) for v in verdicts],
             ['payloda is not known here; did you mean payload?', 'weir-delay is not known here',
              'a key has at most 255 bytes and a content type 95, without control characters', 'queued'])
    check_eq([j['payload'] for j in w.take('wrong', max=10)], ['fine'])


@test
def no_parameter_is_lost_without_a_word():
    w = server()
    kept = w.enqueue('lost')
    [job] = w.take('lost', lease='1m')
    held, lease = f'/v1/jobs/{job["id"]}', job['lease']

    def refused(a, why):
        check_eq((a.status, a.json.get('detail')), (400, why), a.text)
    for method, path, name, near in ('POST', '/v1/queues/lost/take?wati=1s', 'wati', 'wait'), \
            ('GET', '/v1/queues/lost/jobs?limt=3', 'limt', 'limit'), \
            ('GET', held + '?paylod=true', 'paylod', 'payload'), \
            ('GET', held + '/events?last-event-id=3', 'last-event-id', 'last_event_id'), \
            ('GET', '/v1/subjects/a/events?Format=json', 'Format', 'format'), \
            ('POST', '/v1/subjects/a/request?time%6Futs=1s', 'timeouts', 'timeout'), \
            ('GET', '/debug/tasks?fromat=text', 'fromat', 'format'), \
            ('POST', f'{held}/ack?lease={lease}&leese=1', 'leese', 'lease'), \
            ('POST', f'{held}/nack?lease={lease}&dealy=1h', 'dealy', 'delay'), \
            ('POST', f'{held}/extend?lease={lease}&fro=1h', 'fro', 'for'), \
            ('POST', f'{held}/progress?lease={lease}&progres=1', 'progres', 'progress'), \
            ('POST', f'{held}/return?laese={lease}', 'laese', 'lease'):
        refused(w.request(method, path), f'{name} is not known here; did you mean {near}?')
    for method, path in ('DELETE', held + '?payload=true'), ('POST', held + '/retry?payload=true'), ('POST', held + '/nack?x=1'), \
            ('POST', '/v1/queues/lost/jobs?priority=1'), ('POST', '/v1/queues/lost/jobs:batch?key=k'), \
            ('POST', '/v1/queues/lost/pause?for=1h'), ('GET', '/v1/queues?limit=3'), ('GET', '/v1/crons?limit=3'), \
            ('GET', '/v1/status?pretty'), ('POST', '/v1/subjects/a?reply=b'):
        name = re.search(r'\?(\w+)', path)[1]
        refused(w.request(method, path), f'{name} is not known here')
    refused(w.post('/v1/queues/lost/take?max=1&max=5'), 'max is there twice')
    refused(w.post('/v1/queues/lost/jobs', 'x', headers={'Weir-Dealy': '1h'}), 'weir-dealy is not known here; did you mean weir-delay?')
    refused(w.post('/v1/queues/lost/jobs:batch', '{}', headers={'Weir-Key': 'k'}), 'weir-key is not known here')
    refused(w.post('/v1/queues/lost/take', {'wait': '1s'}),
            'a take has no body: wait, max, lease and worker belong into the query')
    for verb, body, why in ('ack', {'resutl': 1}, 'resutl is not known here; did you mean result?'), \
            ('nack', {'dealy': '1h'}, 'dealy is not known here; did you mean delay?'), \
            ('extend', {'fro': '1h'}, 'fro is not known here; did you mean for?'), \
            ('progress', {'progress': 0.5, 'notes': 'n'}, 'notes is not known here; did you mean note?'), \
            ('return', {'delay': '1h'}, 'delay is not known here'):
        refused(w.post(f'{held}/{verb}', {'lease': lease, **body}), why)
    # What is beside the lease in the query is read whatever it says it is, but for a result.
    refused(w.post(f'{held}/nack?lease={lease}', b'{"delay":'), 'JSON: unexpected token near end of file at line 1, column 9')
    refused(w.post(f'{held}/progress?lease={lease}', b'[1]'), 'the body is no JSON object')
    check_eq(w.job(kept)['state'], 'running')
    check_eq(w.post(f'{held}/nack?lease={lease}', b'{"error":"why","delay":"1h"}').json['state'], 'delayed')
    check_eq(w.job(kept)['error'], 'why')
    for path in '/healthz?verbose', '/readyz?x=1', '/metrics?name=a':  # Whoever probes asks as he is used to.
        check_eq(w.get(path).status, 200)
    check_eq(w.get(held + '?&payload=true&').json['payload'], 'x')


@test
def a_queues_settings_are_written_as_in_weir_yaml():
    w = server()
    for rate, per_second in (10, 10), (0.5, 0.5), ('10/s', 10), ('120/m', 2), ('5400/h', 1.5), ('3', 3):
        check_eq(w.put('/v1/queues/form', {'rate': rate, 'rate_burst': 5}).json['settings']['rate'], per_second, rate)
    a = w.put('/v1/queues/form', {'rate': 0, 'max': 0, 'max_attempts': 0, 'timeout': '0', 'max_bytes': '64KiB'}).json['settings']
    check_eq((a.get('rate'), a['max'], a['max_attempts'], a['max_bytes']), (None, 100000, 10, 65536))
    for bad, why in ({'rate': '10/d'}, 'rate: "10/d" is not a rate; write it like 10/s, 100/m or 5/h'), \
            ({'rate': '0/s'}, 'rate: "0/s" would let no job run: pause the queue for that, or leave the rate away for no limit'), \
            ({'lease': 30}, 'lease: "30" is not a duration'), \
            ({'max': -1}, 'max: "-1" is too small; the least is 1'), \
            ({'durability': 'fsnc'}, 'did you mean "fsync"?'), \
            ({'concurrency': [1]}, 'concurrency is an array or object'):
        a = w.put('/v1/queues/form', bad)
        check_eq(a.status, 400)
        check_in(why, a.json['detail'])
    zeros = {'lease': '0s', 'timeout': '0ms', 'backoff': '0h', 'max_bytes': '0KiB', 'max': 0}  # 0 in any unit is 0.
    a = w.put('/v1/queues/form', {**zeros, 'rate': 7})
    check_eq((a.status, a.json['settings']['lease'], a.json['settings']['rate']), (200, '30s', 7), a.text)
    everything = w.get('/v1/queues/form').json['settings']  # What is shown can be put again.
    check_eq(w.put('/v1/queues/form', everything).json['settings'], everything)
    with_file = 'queues: {a: {rate: 10}, b: {rate: 10/s}, c: {rate: 600/m}}\n'
    with tempfile.NamedTemporaryFile('w', suffix='.yaml') as f:
        f.write(with_file)
        f.flush()
        with Weir('--config', f.name) as own:
            check_eq([own.get(f'/v1/queues/{q}').json['settings']['rate'] for q in 'abc'], [10, 10, 10])


@test
def a_cron_is_put_shown_runs_and_is_deleted():
    w = server()
    a = w.put('/v1/crons/tick', {'schedule': '@every 1s', 'queue': 'crons', 'payload': 'tock'})
    check_eq(a.status, 200, a.text)
    check_eq(w.get('/v1/crons/tick').json['schedule'], '@every 1s')
    check_in('tick', [c['name'] for c in w.get('/v1/crons').json['crons']])
    [job] = w.take('crons', wait='10s')
    check_eq(job['payload'], 'tock')
    check_eq(w.delete('/v1/crons/tick').status, 204)
    check_eq(w.delete('/v1/crons/tick').status, 404)
    check_eq(w.put('/v1/crons/bad', {'schedule': 'now and then', 'queue': 'crons'}).status, 400)
    check_eq(w.put('/v1/crons/bad', {'queue': 'crons'}).status, 400)
    for name, body, why in ('bad', {'schedule': '0 0 31 2 *', 'queue': 'crons'}, 'schedule: "0 0 31 2 *" is none, or never comes'), \
            ('bad', {'schedule': '@daily', 'queue': 'a b'}, 'queue is 1 to 64'), ('a b', {'schedule': '@daily', 'queue': 'q'}, "a cron's name is 1 to 64"), \
            ('bad', {'schedule': '@daily', 'queue': 'q', 'tz': 'UTC'}, 'tz is not known here'), \
            ('bad', {'schedule': 'TZ=Mars/Base 0 3 * * *', 'queue': 'q'}, 'no such time zone'):
        a = w.put(f'/v1/crons/{name.replace(" ", "%20")}', body)
        check_eq(a.status, 400)
        check_in(why, a.json['detail'])


@test
def a_message_reaches_the_streams_of_its_subject():
    w = server()
    with w.events('/v1/subjects/orders.*/events') as e, w.events('/v1/subjects/orders.new/events?format=json') as j:
        a = w.post('/v1/subjects/orders.new', b'forty two')
        check_eq((a.status, a.json), (202, {'delivered': 2}))
        got = e.next()
        check_eq((got['event'], got['data']), ('message', 'forty two'))
        check_eq(json.loads(j.next()['data']), {'subject': 'orders.new', 'data': 'forty two'})
        w.post('/v1/subjects/orders.old', b'a\nb\r\nc')
        check_eq(e.next()['data'], 'a\nb\nc')
        w.post('/v1/subjects/orders.new', b'\xff\x00')
        check_eq(base64.b64decode(json.loads(j.next()['data'])['data_base64']), b'\xff\x00')
    check_eq(w.post('/v1/subjects/orders.*', b'x').status, 400)
    check_eq(w.post('/v1/subjects/orders..x', b'x').status, 400)
    check_eq(w.post('/v1/subjects/weir.jobs.a.b', b'x').status, 403)
    check_eq(w.get('/v1/subjects/a.>.b/events').status, 400)


@test
def queues_of_like_names_tell_of_their_jobs_apart():
    w = server()
    with w.events('/v1/subjects/weir.jobs.like:name.*/events') as e:
        w.enqueue('like_name')
        id = w.enqueue('like.name')
        check_eq(json.loads(e.next()['data'])['job']['id'], id)
    with w.events('/v1/subjects/weir.jobs.:take.*/events') as e:
        id = w.enqueue('take')
        check_eq(json.loads(e.next()['data'])['job']['id'], id)


@test
def a_stream_is_resumed_behind_the_last_event_that_was_seen():
    w = server()
    with w.events('/v1/subjects/resume.me/events') as e:
        for n in range(3):
            w.post('/v1/subjects/resume.me', f'{n}')
        seen = [e.next() for _ in range(2)]
        check_eq([x['data'] for x in seen], ['0', '1'])
    w.post('/v1/subjects/resume.me', b'3')
    with w.events('/v1/subjects/resume.me/events', headers={'Last-Event-ID': seen[1]['id']}) as e:
        check_eq([e.next()['data'] for _ in range(2)], ['2', '3'])
    with w.events('/v1/subjects/resume.me/events?last_event_id=' + seen[0]['id']) as e:
        check_eq([e.next()['data'] for _ in range(3)], ['1', '2', '3'])
    with w.events('/v1/subjects/resume.me/events', headers={'Last-Event-ID': 'of-another-life'}) as e:
        check_eq(e.next()['event'], 'gap')


@test
def a_request_gets_the_answer_of_who_replies():
    w = server()
    check_eq(w.post('/v1/subjects/ask.me/request', b'?').status, 503)
    with w.events('/v1/subjects/ask.me/events?format=json&group=answerers') as e:
        got = []
        t = threading.Thread(target=lambda: got.append(w.post('/v1/subjects/ask.me/request?timeout=10s', b'7')))
        t.start()
        m = json.loads(e.next()['data'])
        check_eq((m['subject'], m['data']), ('ask.me', '7'))
        check_eq(w.post('/v1/subjects/' + m['reply'], b'49').json['delivered'], 1)
        t.join(LIMIT)
        check_eq((got[0].status, got[0].body), (200, b'49'))
        start = time.monotonic()
        check_eq(w.post('/v1/subjects/ask.me/request?timeout=300ms', b'8').status, 504)
        check(0.29 < time.monotonic() - start < 5)
    until(lambda: w.post('/v1/subjects/ask.me/request?timeout=1s', b'?').status == 503, 'the group is still there')


@test
def changes_of_jobs_are_messages_on_the_bus():
    w = server()
    with w.events('/v1/subjects/weir.jobs.>/events') as e:
        id = w.enqueue('bus.dots')
        m = json.loads(e.next()['data'])
        check_eq((m['event'], m['job']['id'], m['job']['queue']), ('queued', id, 'bus.dots'))
        w.ack(w.take('bus.dots')[0])
        check_eq([json.loads(e.next()['data'])['event'] for _ in range(2)], ['running', 'done'])


@test
def the_server_tells_of_itself():
    w = server()
    check_eq((w.get('/healthz').status, w.get('/healthz').body), (200, b'ok\n'))
    check_eq(w.get('/readyz').status, 200)
    s = w.get('/v1/status').json
    check_eq((s['ready'], s['pid'], s['auth']), (True, w.pid, False))
    check(s['uptime_s'] >= 0 and s['workers'] >= 1 and s['tasks'] >= 1)
    t = w.get('/debug/tasks').json
    check(t['total'] >= 3 and all(x['place'] and x['state'] for x in t['tasks']))
    check_in('worker', w.get('/debug/tasks?format=text').text)
    a = w.get('/')
    check_eq(a.status, 200)
    check_in('text/html', a.headers['content-type'])
    check_in("default-src 'none'", a.headers['content-security-policy'])
    check_eq(a.headers['x-content-type-options'], 'nosniff')
    check_eq(w.get('/', headers={'If-None-Match': a.headers['etag']}).status, 304)


@test
def metrics_are_well_formed_and_follow():
    w = server()
    w.enqueue('metric')
    a = w.get('/metrics')
    check_eq(a.status, 200)
    check_in('version=0.0.4', a.headers['content-type'])
    line = re.compile(r'[a-z_]+(\{[a-z]+="[^"\\\n]*"(,[a-z]+="[^"\\\n]*")*\})? -?[0-9.e+-]+$')
    for l in a.text.splitlines():
        check(l.startswith('# ') or line.match(l), l)
    check_in('weir_queue_jobs{queue="metric",state="queued"} 1', a.text)
    for count in 'switches', 'steals', 'messages', 'parks', 'wakes', 'spins', 'hogs':
        check_in('weir_worker_%s_total{worker="0"} ' % count, a.text)
    families = re.findall(r'^# TYPE (\S+)', a.text, re.M)
    check_eq(len(families), len(set(families)))


@test
def errors_are_problem_documents():
    w = server()
    for method, path, body, status in [
            ('GET', '/nowhere', None, 404), ('GET', '/v1/jobs/unknown', None, 404), ('PATCH', '/v1/queues', None, 405),
            ('POST', '/v1/queues/.bad/jobs', b'x', 400), ('POST', '/v1/queues/' + 'a' * 65 + '/jobs', b'x', 400),
            ('POST', '/v1/queues/q/take?wait=1y', b'', 400), ('POST', '/v1/queues/q/take?max=101', b'', 400),
            ('POST', '/v1/queues/q/take?lease=0', b'', 400), ('PUT', '/v1/queues/q', b'{', 400),
            ('PUT', '/v1/queues/q', b'[' * 100000, 400), ('POST', '/v1/queues/q/jobs', b'x' * (1 << 20) + b'x', 413),
            ('POST', '/v1/jobs/unknown/ack?lease=1', b'', 404), ('DELETE', '/v1/jobs/unknown', None, 404)]:
        a = w.request(method, path, body)
        check_eq((method, path[:60], a.status), (method, path[:60], status), a.text[:200])
        check_eq(a.headers['content-type'].split(';')[0], 'application/problem+json')
        check_eq(a.json['status'], status)
        check(a.json['title'] and a.json['type'])
    for header, value in [('Weir-Delay', 'soon'), ('Weir-Priority', '1.5'), ('Weir-Priority', '1001'), ('Weir-Timeout', '-1s'),
                          ('Weir-Max-Attempts', '0'), ('Idempotency-Key', 'k' * 256), ('Weir-Key', 'k' * 256)]:
        a = w.post('/v1/queues/q/jobs', b'x', headers={header: value})
        check_eq((header, value[:10], a.status), (header, value[:10], 400))
    a = w.request('PATCH', '/v1/queues')
    check_in('GET', a.headers['allow'])


@test
def openapi_lists_the_routes_that_are_served():
    w = server()
    doc = w.get('/openapi.json').json
    described = {(m.upper(), p) for p, ms in doc['paths'].items() for m in ms}
    served = set()
    for name in os.listdir(os.path.join(ROOT, 'weir')):
        if name.startswith('api_') and name.endswith('.c'):
            with open(os.path.join(ROOT, 'weir', name)) as f:
                served |= set(re.findall(r'\{ "([A-Z]+) (/[^"]*)",', f.read()))
    check(len(served) > 30)
    check_eq(described, served)
    ids = [o['operationId'] for ms in doc['paths'].values() for o in ms.values()]
    check_eq(len(ids), len(set(ids)))
    refs = set(re.findall(r'"\$ref": ?"#/components/schemas/(\w+)"', json.dumps(doc)))
    check(refs <= set(doc['components']['schemas']), refs)


@test
def a_unix_socket_serves_as_well():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, 'weir.sock')
        with Weir(listen=['127.0.0.1:0', f'unix:{path}']) as w:
            w.wait_err(re.escape(path))
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)
            s.sendall(b'GET /healthz HTTP/1.1\r\nHost: whatever.example\r\nConnection: close\r\n\r\n')
            data = b''
            while chunk := s.recv(4096):
                data += chunk
            check(data.startswith(b'HTTP/1.1 200'), data)


if __name__ == '__main__':
    with Weir() as W:
        main_status = None
        try:
            main()
        except SystemExit as e:
            main_status = e.code
    sys.exit(main_status)
