# SPDX-License-Identifier: MIT
"""Nothing polls: an idle server makes next to no system calls."""
from weirtest import *


def calls_in(w, seconds):
    """System calls of all threads, counted by strace."""
    log = tempfile.NamedTemporaryFile(prefix='weir-strace-')
    p = subprocess.Popen(['strace', '-f', '-c', '-o', log.name, '-p', str(w.pid)], stderr=subprocess.PIPE)
    check_in(b'attached', p.stderr.readline())
    time.sleep(seconds)  # The measure itself.
    p.send_signal(signal.SIGINT)
    p.wait(LIMIT)
    text = open(log.name).read()
    m = re.search(r'^\s*100\.00.*?(\d+)\s+(?:\d+\s+)?total$', text, re.M)
    return (int(m.group(1)) if m else 0), text


@test
def an_idle_server_makes_at_most_ten_system_calls_in_ten_seconds():
    check(shutil.which('strace'), 'strace is not installed')
    with Weir() as w:
        check_eq(w.get('/healthz').status, 200)
        w.enqueue('q')
        n, text = calls_in(w, 10)
        check(n <= 10, text)


@test
def an_idle_server_with_connections_and_streams_makes_few_system_calls():
    with Weir() as w:
        conns = [w.raw() for _ in range(20)]
        for c in conns:
            c.send('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
            check_eq(c.answer().status, 200)
        id = w.enqueue('q')
        streams = [w.events(f'/v1/jobs/{id}/events')] + [w.events('/v1/subjects/a.b/events') for _ in range(5)]
        check(all(s.status == 200 for s in streams))
        n, text = calls_in(w, 5)
        check(n <= 60, text)


if __name__ == '__main__':
    main()
