# SPDX-License-Identifier: MIT
"""Nothing that a client does makes the server grow: full queues, endless names, endless finished jobs. --long does it a million times."""
from weirtest import *

MANY = 1000000 if LONG else 30000
PIPELINE = 500


def pipelined(w, make, count, expect):
    """Sends `count` requests made by make(n), PIPELINE at a time on one connection; every status must be in `expect`."""
    raw = w.raw(timeout=60)
    seen = {}
    done = 0
    while done < count:
        n = min(PIPELINE, count - done)
        data = b''.join(make(done + k) for k in range(n))
        sender = threading.Thread(target=raw.send, args=(data,))
        sender.start()
        for _ in range(n):
            a = raw.answer()
            check(a is not None, 'the connection was closed')
            seen[a.status] = seen.get(a.status, 0) + 1
            check(a.status in expect, a)
        sender.join()
        done += n
    raw.close()
    return seen


def put(queue, body=b'x'):
    return b'POST /v1/queues/%s/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s' % (queue, len(body), body)


def flat(w, act, text):
    """Memory after `act` is what it was before, but for what an allocator keeps."""
    before, store = w.rss_kib(), w.get('/v1/status').json['memory_bytes']
    act()
    after = w.rss_kib()
    if not sanitized():
        check(after - before < 12 * 1024, f'{text}: grew from {before} to {after} KiB')
    return store, w.get('/v1/status').json['memory_bytes']


@test
def a_full_queue_refuses_at_once_whatever_comes_and_what_was_accepted_runs():
    with Weir('--queue-max', '10') as w:
        ids = [w.enqueue('q', b'%d' % n) for n in range(10)]
        start = time.monotonic()
        a = w.post('/v1/queues/q/jobs', b'eleventh')
        check(time.monotonic() - start < 1)
        check_eq(a.status, 503)
        check(1 <= int(a.headers['retry-after']) <= 60, a.headers)
        check_eq(a.json['status'], 503)
        pipelined(w, lambda n: put(b'q'), 2000, {503})
        store = flat(w, lambda: check_eq(pipelined(w, lambda n: put(b'q', b'y' * 100), MANY, {503}), {503: MANY}), 'refused puts')
        check_eq(store[0], store[1])
        got = []
        while jobs := w.take('q', max=4):
            got += jobs
            for j in jobs:
                check_eq(w.ack(j).status, 200)
        check_eq([j['id'] for j in got], ids)
        check_eq(w.get('/v1/queues/q').json['refused_total'], MANY + 2001)


@test
def endless_names_of_queues_are_refused():
    with Weir('--queues-max', '50') as w:
        pipelined(w, lambda n: put(b'warm%d' % n), 2000, {202, 507})
        check_eq(len(w.get('/v1/queues').json['queues']), 50)
        flat(w, lambda: pipelined(w, lambda n: put(b'name%d' % n), MANY, {507}), 'names of queues')
        check_eq(w.post('/v1/queues/one-more/take').status, 507)
        check_eq(w.put('/v1/queues/one-more', {'max': 1}).status, 507)
        check_eq(len(w.get('/v1/queues').json['queues']), 50)
        check_eq(w.get('/metrics').text.count('weir_queue_bytes{'), 50)


@test
def metrics_have_a_bounded_number_of_labels():
    with Weir() as w:
        pipelined(w, lambda n: put(b'name%d' % n), 300, {202})
        text = w.get('/metrics').text
        check_eq(text.count('weir_queue_bytes{'), 101)
        n = re.search(r'weir_queue_jobs\{queue="\(other\)",state="queued"\} (\d+)', text)
        check_eq(n and n.group(1), '200')


@test
def finished_jobs_are_kept_up_to_a_number():
    with Weir('--finished-max', '500') as w:
        def cycle(count):
            done = 0
            while done < count:
                n = min(500, count - done)
                a = w.post('/v1/queues/f/jobs:batch', b'{"payload":"some bytes of payload"}\n' * n)
                check_eq(a.status, 202)
                jobs = []
                while len(jobs) < n:
                    jobs += w.take('f', max=100)
                pipelined(w, lambda k: b'POST /v1/jobs/%s/ack?lease=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nresult'
                          % (jobs[k]['id'].encode(), jobs[k]['lease'].encode()), n, {200})
                done += n
        cycle(3000)
        flat(w, lambda: cycle(MANY), 'finished jobs')
        q = w.get('/v1/queues/f').json
        check(q['done'] <= 500, q)
        check_eq(q['acked_total'], MANY + 3000)


@test
def retry_after_follows_the_rate_that_was_measured():
    with Weir('--queue-max', '10') as w:
        for _ in range(10):
            w.enqueue('r')
        still = int(w.post('/v1/queues/r/jobs', b'x').headers['retry-after'])
        end = time.monotonic() + 4
        while time.monotonic() < end:  # The rate is over time: some has to pass.
            [j] = w.take('r')
            w.ack(j)
            w.enqueue('r')
            time.sleep(0.02)
        moving = int(w.post('/v1/queues/r/jobs', b'x').headers['retry-after'])
        check(moving <= 2 and moving < still, (still, moving))


@test
def memory_over_all_queues_is_bounded():
    with Weir('--memory-max', '8MiB') as w:
        a = {}
        for n in range(40):
            r = w.post(f'/v1/queues/q{n}/jobs', b'z' * (512 << 10))
            a[r.status] = a.get(r.status, 0) + 1
        check(set(a) == {202, 507} and a[202] <= 16, a)
        check(w.get('/v1/status').json['memory_bytes'] <= 8 << 20)
        while w.take('q0'):
            pass


@test
def streams_of_many_subjects_are_bounded():
    with Weir('--patterns-max', '8') as w:
        open_streams = [w.events(f'/v1/subjects/s.{n}/events') for n in range(8)]
        check(all(s.status == 200 for s in open_streams))
        with w.events('/v1/subjects/s.9/events') as e:
            check_eq(e.status, 507)
        with w.events('/v1/subjects/s.1/events') as e:
            check_eq(e.status, 200)
        until(lambda: w.get('/v1/status').json['streams'] == 8, 'the ninth client does not go')
        for s in open_streams:
            s.close()
        # Nobody uses these any more, so their places are taken, the longest unused first.
        until(lambda: w.get('/v1/status').json['streams'] == 0, 'the streams do not end')
        for n in range(20, 40):
            with w.events(f'/v1/subjects/s.{n}/events') as e:
                check_eq((n, e.status), (n, 200))
            until(lambda: w.get('/v1/status').json['streams'] == 0, 'the stream does not end')


@test
def clients_that_vanish_leave_nothing_behind():
    with Weir() as w:
        def state():
            s = w.get('/v1/status').json
            return s['streams'], s['tasks'], s['connections']
        with w.events('/v1/subjects/here/events'):
            pass
        until(lambda: (state()[0], state()[2]) == (0, 1), 'the first stream does not end')
        before = state()
        streams = [w.events('/v1/subjects/here/events') for _ in range(200)]
        follows = [w.events(f'/v1/jobs/{w.enqueue("q")}/events') for _ in range(20)]
        check_eq(state()[0], 200)
        start = time.monotonic()
        for s in streams + follows:
            s.close()
        # Before, the first stream's connection may still have been there: no more than that.
        until(lambda: all(now <= then for now, then in zip(state(), before)), lambda: f'{state()} is not {before}')
        check(time.monotonic() - start < (10 if sanitized() else 1.5), 'it took too long')


@test
def who_takes_too_slowly_is_named_to_publisher_and_operator():
    with Weir('--write-timeout', '60s') as w:
        raw = w.raw(timeout=60)
        raw.send(b'GET /v1/subjects/slow.*/events?group=g HTTP/1.1\r\nHost: localhost\r\n\r\n')
        until(lambda: w.get('/v1/status').json['subscriptions'] >= 1, 'nobody subscribed')
        body = b'x' * (512 << 10)
        until(lambda: w.post('/v1/subjects/slow.a', body).json.get('dropped'), 'nothing was dropped')
        slow = w.get('/v1/status').json['bus']['slow']
        check_eq([(s['subject'], s['group']) for s in slow], [('slow.*', 'g')])
        check(slow[0]['dropped'] >= 1 and slow[0]['pending'] >= 1, slow)
        check_in('weir_bus_subscription_dropped_total{subject="slow.*",group="g"}', w.get('/metrics').text)
        raw.close()


if __name__ == '__main__':
    main()
