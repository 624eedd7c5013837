# SPDX-License-Identifier: MIT
"""What has to hold over restarts: crons tick exactly once, keys of idempotency stand for their first job, and what is dead can be
brought back. Each by a clean stop and by kill -9 (on the disk)."""
import datetime

from weirtest import *

YAML = '''queues:
  ticks: {finished-max: 1000}
  frail: {backoff: 10ms, attempts: 3}
'''


class Lives:
    """A server that is started again on its data directory."""

    def __init__(self, store):
        self.dir = tempfile.mkdtemp(prefix='weir-lives-')
        self.store = store
        with open(f'{self.dir}/weir.yaml', 'w') as f:
            f.write(YAML)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, tb):
        try:
            if kind is None:
                self.w.stop()
            else:
                self.w.kill()
                sys.stderr.write(self.w.err[-3000:])
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    def start(self):
        self.w = Weir('--store', self.store, '--config', f'{self.dir}/weir.yaml', data=f'{self.dir}/data')

    def again(self, hard):
        if hard:
            self.w.kill()
        else:
            self.w.stop()
        self.start()


def stores():
    """(store, by kill -9 too)"""
    with tempfile.TemporaryDirectory() as d:
        status, out, err = cli('config', 'show', '--store', 'sqlite', '--data', d)
        return [('mem', False), ('sqlite', True)] if status == 0 else [('mem', False)]


def each_life():
    for store, hard in stores():
        for how in ([False, True] if hard else [False]):
            yield store, how


def created(w, queue):
    jobs, after = [], ''
    while True:
        page = w.get(f'/v1/queues/{queue}/jobs?limit=100{after}').json
        jobs += page['jobs']
        if not page['next']:
            break
        after = '&after=' + page['next']
    return [datetime.datetime.fromisoformat(j['created_at'].replace('Z', '+00:00')).timestamp() for j in jobs]


@test
def a_cron_ticks_exactly_once_over_a_restart():
    lives = list(each_life())
    for store, hard in lives if LONG else {lives[0], lives[-1]}:
        with Lives(store) as l:
            l.w.put('/v1/crons/tick', {'schedule': '@every 1s', 'queue': 'ticks'})
            until(lambda: len(created(l.w, 'ticks')) >= 2, 'it does not tick')
            l.again(hard)
            check_eq(l.w.get('/v1/crons/tick').status, 200)
            n = len(created(l.w, 'ticks'))
            check(n >= 2, f'{store}: ticks were lost')
            until(lambda: len(created(l.w, 'ticks')) > n, 'it ticks no more')
            # None twice: a restart takes less than the second between two of them.
            at = created(l.w, 'ticks')
            gaps = [b - a for a, b in zip(at, at[1:])]
            check(min(gaps) > 0.3, f'{store}, hard {hard}: a tick came twice: {gaps}')
            # Down for longer than a tick: those that were missed are made up for by one, then they come as ever.
            l.w.kill() if hard else l.w.stop()
            down = time.time()
            time.sleep(2.2)
            l.start()
            until(lambda: created(l.w, 'ticks')[-1] > down + 3, 'it ticks no more')
            late = [t for t in created(l.w, 'ticks') if t > down]
            check(len(late) <= late[-1] - late[0] + 2, f'{store}: too many at once: {late}')


@test
def an_idempotency_key_stands_for_its_job_over_a_restart():
    for store, hard in each_life():
        with Lives(store) as l:
            first = l.w.post('/v1/queues/q/jobs', b'pay', headers={'Idempotency-Key': 'order 7'}).json
            l.again(hard)
            second = l.w.post('/v1/queues/q/jobs', b'pay', headers={'Idempotency-Key': 'order 7'}).json
            check_eq((second['id'], second.get('duplicate')), (first['id'], True))
            [job] = l.w.take('q', max=10)
            l.w.ack(job)
            l.again(hard)
            third = l.w.post('/v1/queues/q/jobs', b'pay', headers={'Idempotency-Key': 'order 7'}).json
            check_eq(third['id'], first['id'])
            check_eq(l.w.take('q'), [], 'it was paid twice')


@test
def a_poison_job_is_dead_after_its_attempts_and_comes_back_by_redrive():
    for store, hard in each_life():
        with Lives(store) as l:
            id = l.w.enqueue('frail', b'poison')
            for attempt in range(1, 4):
                [job] = l.w.take('frail', wait='10s')
                check_eq(job['attempt'], attempt)
                l.w.post(f'/v1/jobs/{id}/nack?lease={job["lease"]}&error=inedible+{attempt}')
                if attempt < 3:
                    l.again(hard)
            check_eq(l.w.job(id)['state'], 'dead')
            check_eq(l.w.take('frail'), [])
            l.again(hard)
            job = l.w.job(id)
            check_eq((job['state'], job['error'], job['attempts']), ('dead', 'inedible 3', 3))
            check_eq(l.w.post('/v1/queues/frail/redrive').json, {'redriven': 1})
            l.again(hard)
            [job] = l.w.take('frail', wait='10s')
            check_eq((job['id'], job['attempt'], job['payload']), (id, 1, 'poison'))
            check_eq(l.w.ack(job, b'fine now').status, 200)
            check_eq(l.w.job(id)['result'], 'fine now')


if __name__ == '__main__':
    main()
