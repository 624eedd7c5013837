# SPDX-License-Identifier: MIT
"""The NATS listener, byte by byte: the protocol, its errors, users and rights, limits, monitoring, the stop."""
from nats_wire import *

CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n'
UNKNOWN = "-ERR 'Unknown Protocol Operation'"
ARGS = "-ERR 'Parser Error'"
SUBJECT = "-ERR 'Invalid Subject'"
PUBLISH = "-ERR 'Invalid Publish Subject'"
PEDANTIC = b'CONNECT {"verbose":false,"pedantic":true}\r\n'

# What is sent behind CONNECT, the -ERR it gets, and whether the connection ends.
BAD = [
    (b'GET / HTTP/1.1\r\n', UNKNOWN, True),
    (b'\r\n', UNKNOWN, True),
    (b'\n', UNKNOWN, True),
    (b' PING\r\n', UNKNOWN, True),
    (b'PIN\r\n', UNKNOWN, True),
    (b'PINGPONG\r\n', UNKNOWN, True),
    (b'PING 1\r\n', UNKNOWN, True),
    (b'\x00\r\n', UNKNOWN, True),
    (b'\xff\xfe\xfd\r\n', UNKNOWN, True),
    (b'PU', None, False),
    (b'PUBLISH foo 2\r\nhi\r\n', UNKNOWN, True),
    (b'PUB\r\n', UNKNOWN, True),
    (b'MSG foo 1 2\r\nhi\r\n', UNKNOWN, True),
    (b'HMSG foo 1 2 2\r\nhi\r\n', UNKNOWN, True),
    (b'SUBSCRIBE foo 1\r\n', UNKNOWN, True),
    (b'SUB\r\n', UNKNOWN, True),
    (b'UNSUB\r\n', UNKNOWN, True),
    (b'A+ foo\r\n', UNKNOWN, True),
    (b'RS+ acc foo\r\n', UNKNOWN, True),
    (b'{"a":1}\r\n', UNKNOWN, True),
    (b'+O\r\n', UNKNOWN, True),
    (b'-ERR\r\n', UNKNOWN, True),
    (b'CONNECTED {}\r\n', UNKNOWN, True),
    (b'PUB foo\r\n', ARGS, True),
    (b'PUB \r\n', ARGS, True),
    (b'PUB foo bar\r\n', ARGS, True),
    (b'PUB foo -1\r\n', ARGS, True),
    (b'PUB foo +1\r\nx\r\n', ARGS, True),
    (b'PUB foo 0x1\r\nx\r\n', ARGS, True),
    (b'PUB foo 1.0\r\nx\r\n', ARGS, True),
    (b'PUB foo 99999999999999999999\r\n', ARGS, True),
    (b'PUB foo re ply 2\r\nhi\r\n', ARGS, True),
    (b'PUB foo 2\r\nhello\r\n', UNKNOWN, True),
    (b'PUB foo 5\r\nhelloPING\r\n', UNKNOWN, True),
    (b'PUB foo 2\r\nhi\n\n', UNKNOWN, True),
    (b'HPUB foo 5\r\nhello\r\n', ARGS, True),
    (b'HPUB foo 6 5\r\nhello\r\n', ARGS, True),
    (b'HPUB foo x 5\r\nhello\r\n', ARGS, True),
    (b'HPUB foo 1 x\r\nhello\r\n', ARGS, True),
    (b'HPUB foo r s 1 2\r\nhi\r\n', ARGS, True),
    (b'SUB foo\r\n', ARGS, True),
    (b'SUB  \r\n', ARGS, True),
    (b'SUB foo q 1 2\r\n', ARGS, True),
    (b'UNSUB 1 2 3\r\n', ARGS, True),
    (b'UNSUB 1 x\r\n', ARGS, True),
    (b'UNSUB 1 -1\r\n', ARGS, True),
    (b'CONNECT \r\n', ARGS, True),
    (b'CONNECT []\r\n', ARGS, True),
    (b'CONNECT {\r\n', ARGS, True),
    (b'CONNECT {"verbose":false\r\n', ARGS, True),
    (b'CONNECT {"verbose":}\r\n', ARGS, True),
    (b'CONNECT {"a":"\\x"}\r\n', ARGS, True),
    (b'CONNECT {"a":"\\u0000"}\r\n', ARGS, True),
    (b'CONNECT {"a":' + b'[' * 50 + b']' * 50 + b'}\r\n', ARGS, True),
    (b'CONNECT {} x\r\n', ARGS, True),
    (b'CONNECT {"protocol":2}\r\n', "-ERR 'invalid client protocol'", True),
    (b'CONNECT {"protocol":-1}\r\n', "-ERR 'invalid client protocol'", True),
    (b'CONNECT {"no_responders":true}\r\n', "-ERR 'no responders requires headers support'", True),
    (b'PUB foo 1048577\r\n', "-ERR 'Maximum Payload Violation'", True),
    (b'HPUB foo 12 1048577\r\n', "-ERR 'Maximum Payload Violation'", True),
    (b'SUB ' + b'a' * 5000 + b' 1\r\n', "-ERR 'maximum control line exceeded'", True),
    (b'PUB ' + b'a' * 5000, "-ERR 'maximum control line exceeded'", True),
    (b'CONNECT {"name":"' + b'a' * 5000 + b'"}\r\n', "-ERR 'maximum control line exceeded'", True),
    (b'SUB foo..bar 1\r\n', SUBJECT, False),
    (b'SUB .foo 1\r\n', SUBJECT, False),
    (b'SUB foo. 1\r\n', SUBJECT, False),
    (b'SUB . 1\r\n', SUBJECT, False),
    (b'SUB >.foo 1\r\n', SUBJECT, False),
    (b'SUB foo.>.bar 1\r\n', SUBJECT, False),
    (b'SUB f\x00o 1\r\n', SUBJECT, False),
    (PEDANTIC + b'PUB foo.* 2\r\nhi\r\n', PUBLISH, False),
    (PEDANTIC + b'PUB > 2\r\nhi\r\n', PUBLISH, False),
    (PEDANTIC + b'PUB foo..bar 2\r\nhi\r\n', PUBLISH, False),
    (PEDANTIC + b'PUB .foo 2\r\nhi\r\n', PUBLISH, False),
]


@test
def each_bad_input_gets_its_error_and_hurts_nobody_else():
    with NatsWeir() as w:
        other = w.nats()
        other.send(b'SUB alive 1\r\n')
        other.ping()
        for data, error, ends in BAD:
            c = w.nats(connect=False)
            c.send(CONNECT + data)
            if ends:
                check_eq(c.ended().decode().strip(), error, data[:60])
            elif error:
                check_eq(c.ping().decode().strip(), error, data[:60])
            c.close()
            other.send(b'PUB alive 1\r\nx\r\n')
            check_eq(other.message()[4], b'x')
        check(len(BAD) >= 50)
        until(lambda: w.get('/varz').json['connections'] == 1)
        other.close()


@test
def a_conversation_means_the_same_split_at_every_byte():
    talk = (CONNECT + b'SUB foo.* q 1\r\nSUB foo.> 2\r\nPUB foo.a rep.ly 5\r\nhello\r\nHPUB foo.b 19 21\r\n'
            b'NATS/1.0\r\nA: 12\r\n\r\nhi\r\nUNSUB 1 2\r\nUNSUB 2\r\nPUB foo.c 0\r\n\r\nPING\r\n')
    with NatsWeir() as w:
        with w.nats(connect=False) as c:
            c.send(talk)
            want = c.read_until(b'PONG\r\n')
        check_in(b'MSG foo.a 1 rep.ly 5\r\nhello\r\n', want)
        check_in(b'HMSG foo.b 2 19 21\r\nNATS/1.0\r\nA: 12\r\n\r\nhi\r\n', want)
        for cut in range(1, len(talk)):
            with w.nats(connect=False) as c:
                c.send(talk[:cut])
                c.send(talk[cut:])
                got = c.read_until(b'PONG\r\n')
            check_eq(sorted(got.split(b'\r\n')), sorted(want.split(b'\r\n')), cut)
        with w.nats(connect=False) as c:
            for i in range(len(talk)):
                c.send(talk[i:i + 1])
            check_eq(sorted(c.read_until(b'PONG\r\n').split(b'\r\n')), sorted(want.split(b'\r\n')))


@test
def info_says_what_clients_need_to_know():
    with NatsWeir() as w, w.nats(connect=False) as c, w.nats(connect=False) as d:
        for key in ('server_id', 'server_name', 'version', 'go', 'host'):
            check(isinstance(c.info[key], str), key)
        check_eq((c.info['proto'], c.info['headers'], c.info['max_payload'], c.info['port'], c.info['client_ip']),
                 (1, True, 1048576, w.nats_port, '127.0.0.1'))
        check(c.info['client_id'] != d.info['client_id'])
        check('auth_required' not in c.info and 'tls_required' not in c.info and 'ldm' not in c.info, c.info)


@test
def verbose_clients_get_an_ok_for_all_they_ask():
    with NatsWeir() as w, w.nats(connect=False) as c:
        c.send(b'CONNECT {}\r\nSUB foo 1\r\nPUB bar 2\r\nhi\r\nUNSUB 1\r\nUNSUB 9\r\nPING\r\n')
        check_eq(c.read_until(b'PONG\r\n'), b'+OK\r\n' * 5 + b'PONG\r\n')


@test
def nobody_there_is_told_where_the_answer_would_come():
    with NatsWeir() as w:
        with w.nats(no_responders=True) as c:
            c.send(b'SUB in.* 7\r\nPUB nobody in.1 2\r\nhi\r\n')
            check_eq(c.message(), ('in.1', '7', None, b'NATS/1.0 503\r\n\r\n', b''))
            c.send(b'PUB nobody 2\r\nhi\r\n')
            check_eq(c.ping(), b'')
        with w.nats() as c:
            c.send(b'SUB in.* 7\r\nPUB nobody in.1 2\r\nhi\r\n')
            check_eq(c.ping(), b'')


@test
def one_member_of_a_queue_group_gets_each_message():
    with NatsWeir() as w, w.nats() as p:
        members = [w.nats() for _ in range(3)]
        for i, m in enumerate(members):
            m.send(f'SUB work.{"*" if i else "x"} crew 1\r\n')
            m.ping()
        for i in range(300):
            p.send(f'PUB work.x {len(str(i))}\r\n{i}\r\n')
        p.ping()
        got = [re.findall(rb'MSG work.x 1 \d+\r\n(\d+)\r\n', m.ping()) for m in members]
        check_eq(sorted(int(x) for g in got for x in g), list(range(300)))
        check(all(len(g) > 30 for g in got), [len(g) for g in got])
        for m in members:
            m.close()


@test
def a_subscription_ends_after_so_many_messages():
    with NatsWeir() as w, w.nats() as c:
        c.send(b'SUB foo 1\r\nUNSUB 1 3\r\n' + b'PUB foo 1\r\nx\r\n' * 5)
        check_eq(c.ping().count(b'MSG'), 3)
        c.send(b'SUB foo 2\r\n' + b'PUB foo 1\r\nx\r\n' * 2 + b'UNSUB 2 2\r\nPUB foo 1\r\nx\r\n')
        check_eq(c.ping().count(b'MSG'), 2)
        check_eq(w.get('/subsz').json['num_subscriptions'], 0)


@test
def echo_and_headers_are_the_clients_choice():
    with NatsWeir() as w, w.nats(echo=False) as quiet, w.nats(headers=False) as plain:
        for c in (quiet, plain):
            c.send(b'SUB foo 1\r\n')
            c.ping()
        quiet.send(b'HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n')
        check_eq(quiet.ping(), b'')
        check_eq(plain.message(), ('foo', '1', None, b'', b'hi'))


@test
def messages_go_between_http_and_nats():
    with NatsWeir() as w, w.nats() as c, w.events('/v1/subjects/up.%3E/events') as e:
        c.send(b'SUB down.* 1\r\n')
        c.ping()
        check_eq(w.post('/v1/subjects/down.a', b'hello').json['delivered'], 1)
        check_eq(c.message(), ('down.a', '1', None, b'', b'hello'))
        c.send(b'PUB up.b 5\r\nworld\r\n')
        check_in('world', e.next()['data'])
        asked = threading.Thread(target=lambda: answers.append(w.post('/v1/subjects/down.q/request', b'ask')))
        answers = []
        asked.start()
        subject, _, reply, _, payload = c.message()
        check_eq((subject, payload), ('down.q', b'ask'))
        c.send(f'PUB {reply} 6\r\nanswer\r\n')
        asked.join()
        check_eq((answers[0].status, answers[0].body), (200, b'answer'))
        check_eq(w.post('/v1/subjects/nobody/request', b'').status, 503)


@test
def the_servers_own_subjects_can_be_heard_and_not_be_forged():
    with NatsWeir() as w, w.nats() as c:
        c.send(b'SUB weir.jobs.> 1\r\nPUB weir.jobs.q.1 2\r\nhi\r\n')
        check_eq(c.ping(), b'-ERR \'Permissions Violation for Publish to "weir.jobs.q.1"\'\r\n')
        w.enqueue('q', b'x')
        check_in('weir.jobs.q.', c.message()[0])


@test
def large_messages_arrive_whole():
    with NatsWeir() as w, w.nats() as a, w.nats() as b:
        a.send(b'SUB big 1\r\n')
        a.ping()
        for n in (4090, 32768, 100000, 1048576):
            body = os.urandom(n)
            b.send(b'PUB big %d\r\n' % n + body + b'\r\nPUB big 2\r\nhi\r\n')
            check(a.message()[4] == body, n)
            check_eq(a.message()[4], b'hi')


@test
def a_publisher_of_a_burst_and_its_goodbye_is_heard_out():
    with NatsWeir() as w, w.nats() as c:
        c.send(b'SUB foo 1\r\n')
        c.ping()
        with w.nats() as p:
            p.send(b'PUB foo 4\r\nlast\r\n' * 20000)
            p.sock.shutdown(socket.SHUT_WR)
            check_eq(p.ended(), b'')
        for _ in range(20000):
            check_eq(c.message()[4], b'last')


@test
def who_goes_on_sending_after_its_error_is_cut_and_not_read_for_as_long_as_it_likes():
    with NatsWeir() as w, w.nats() as c:
        c.send(b'BAD\r\n')
        sent, junk = 0, b'x' * 65536
        with contextlib.suppress(OSError):
            while sent < 256 << 20:
                sent += c.sock.send(junk)
        check(sent < 64 << 20, sent)  # A megabyte is read; the rest is the kernel's buffers.


if __name__ == '__main__':
    main()
