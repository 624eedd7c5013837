# SPDX-License-Identifier: MIT
"""examples/owner.c, question 1: an owner task under a limit, and a State that is responsible for its own safety."""
import threading

from weirtest import *


class Owner(Weir):
    """The example on a free port."""

    def __init__(self):
        self.own, self.expect = None, 0
        here = os.path.dirname(program())
        Program.__init__(self, [os.path.join(here, 'examples', 'example-owner'), '127.0.0.1:0'])
        try:
            self.port = int(self.wait_err(r'listening on \S+:(\d+)').group(1))
        except BaseException:
            self.kill()
            raise


@test
def the_owner_answers_many_at_once_and_loses_no_update():
    with Owner() as w:
        answers = []

        def add():
            for _ in range(50):
                answers.append(w.post('/accounts/7/2').status)

        threads = [threading.Thread(target=add) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check_eq(answers, [200] * 400)
        check_eq(w.get('/accounts/7/0').text, '800\n')
        check_eq(w.get('/accounts/8/0').text, '0\n')


@test
def a_stalled_owner_means_504_after_one_second_and_the_late_reply_is_dropped():
    with Owner() as w:
        late = []
        first = threading.Thread(target=lambda: late.append(w.post('/accounts/1/2500').status))
        first.start()

        def asks_in_vain():
            began = time.monotonic()
            status = w.get('/accounts/2/0').status
            return status == 504 and time.monotonic() - began

        took = until(asks_in_vain)
        check(0.99 <= took <= 1.5, f'took {took:.3f} s')
        first.join()
        check_eq(late, [504])
        # The owner has done what it was told, though nobody waited for the answer any more.
        until(lambda: w.get('/accounts/1/0').text == '2500\n', limit=10)


@test
def an_account_that_is_none_is_404():
    with Owner() as w:
        check_eq(w.get('/accounts/100/0').status, 404)
        check_eq(w.get('/accounts/x/0').status, 404)


@test
def a_note_is_what_was_written_last():
    with Owner() as w:
        check_eq(w.put('/notes/1', b'buy milk').status, 200)
        check_eq(w.get('/notes/1').text, 'buy milk\n')
        check_eq(w.put('/notes/1', b'sleep').status, 200)
        check_eq(w.get('/notes/1').text, 'sleep\n')
        check_eq(w.get('/notes/2').text, '\n')
        check_eq(w.put('/notes/1', b'x' * 500).status, 413)
        check_eq(w.get('/notes/1').text, 'sleep\n')


if __name__ == '__main__':
    main()
