# SPDX-License-Identifier: MIT
"""examples/jobs.c, question 3: answer at once, a bounded queue, a pool of workers, a rate, a limit that cancels."""
import time

from weirtest import *


class Jobs(Weir):
    """The example on a free port: how many jobs the queue holds, how long a job takes, what its limit is."""

    def __init__(self, queue_max, job_s, limit_s=0, store='mem:'):
        self.own, self.expect = None, 0
        here = os.path.dirname(program())
        Program.__init__(self, [os.path.join(here, 'examples', 'example-jobs'), '--queue', store, '127.0.0.1:0',
                                str(queue_max), str(job_s), str(limit_s)])
        try:
            self.port = int(self.wait_err(r'listening on \S+:(\d+)').group(1))
        except BaseException:
            self.kill()
            raise

    def put(self, user):
        return self.get(f'/?user_id={user}')

    def state(self, answer):
        return self.get('/jobs/' + answer.text.split()[-1]).text.strip()


@test
def three_answers_queued_full_and_no_user():
    with Jobs(2, 2) as w:
        for user in 1, 2:
            a = w.put(user)
            check_eq(a.status, 202)
            check_in('queued as', a.text)
        began = time.monotonic()
        full = w.put(3)
        check(time.monotonic() - began < 1, 'a full queue answers at once')
        check_eq(full.status, 503)
        check(1 <= int(full.headers['retry-after']) <= 60)
        check_eq(w.get('/').status, 400)
        check_eq(w.get('/?user_id=x').status, 400)


@test
def what_was_accepted_is_run_and_then_there_is_a_place_again():
    with Jobs(2, 0.1) as w:
        first, second = w.put(1), w.put(2)
        w.wait_err(r'user 1: sent')
        w.wait_err(r'user 2: sent')
        until(lambda: w.state(first) == 'done' and w.state(second) == 'done')
        check_eq(w.put(3).status, 202)


@test
def a_pool_of_workers_runs_three_at_a_time():
    with Jobs(10, 3) as w:
        jobs = [w.put(user) for user in range(1, 6)]
        until(lambda: [w.state(j) for j in jobs] == ['running'] * 3 + ['queued'] * 2)


@test
def no_more_than_five_begin_a_second():
    with Jobs(20, 0) as w:
        began = time.monotonic()
        for user in range(1, 9):
            check_eq(w.put(user).status, 202)
        w.wait_err(r'user 8: sent')
        check(time.monotonic() - began >= 1.3, 'eight jobs began too fast')


@test
def a_limit_cancels_a_job_that_takes_too_long():
    with Jobs(10, 30, 0.2) as w:
        job = w.put(1)
        w.wait_err(r'user 1: stopped')
        until(lambda: w.state(job).startswith('dead'))  # after its second attempt
        check_in('ran longer than its limit of 0.2 s', w.state(job))


@test
def what_a_file_keeps_outlives_kill_9():
    with tempfile.TemporaryDirectory() as d:
        w = Jobs(10, 30, store=f'sqlite:{d}/jobs.db')
        jobs = [w.put(user) for user in range(1, 6)]
        check_eq([j.status for j in jobs], [202] * 5)
        w.kill()
        with Jobs(10, 0.1, store=f'sqlite:{d}/jobs.db') as w:
            until(lambda: [w.state(j) for j in jobs] == ['done'] * 5, lambda: [w.state(j) for j in jobs])


@test
def a_stop_lets_running_jobs_finish():
    with Jobs(10, 1) as w:
        check_eq(w.put(1).status, 202)
        w.wait_err(r'attempt 1 begins')
        w.signal(signal.SIGTERM)
        w.wait_err(r'user 1: sent')
        check_eq(w.wait(), 0)


if __name__ == '__main__':
    main()
