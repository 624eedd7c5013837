#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every wrong command, flag, key, name of the environment or value: a sentence that says what is wrong and what was probably
meant, exit status 2, nothing on standard output, and nothing begun."""
import os
import tempfile

from weirtest import *

# (arguments, what the sentence has to hold)
FLAGS = [
    ('srve', 'unknown command "srve"; did you mean "serve"?'),
    ('enqeue mail x', 'did you mean "enqueue"?'),
    ('xyzzy', 'unknown command "xyzzy"; weir --help lists them'),
    ('pause mail', 'unknown command "pause"; did you mean "weir queues pause"?'),
    ('cancel 01M82DCGM4APXZ3G0D9170P92W', 'did you mean "weir jobs cancel"?'),
    ('--listen :0', '--listen stands before the command; flags follow it'),
    ('serve --queue-mx 3', 'unknown flag --queue-mx for weir serve; did you mean --queue-max?'),
    ('serve --queue_max 3', 'did you mean --queue-max?'),
    ('serve --lisen :0', 'did you mean --listen?'),
    ('serve --frobnicate', 'unknown flag --frobnicate; weir serve --help lists them'),
    ('serve --delay 5s', '--delay is no flag of weir serve, but of weir enqueue'),
    ('enqueue --grace 5s mail x', '--grace is no flag of weir enqueue, but of weir serve'),
    ('serve -x', 'unknown flag -x for weir serve'),
    ('status -json', 'did you mean --json?'),
    ('serve --queue-max', '--queue-max needs a value: --queue-max N'),
    ('serve --queue-max --grace 5s', '--queue-max needs a value'),
    ('serve --queue-max 3 --queue-max 4', '--queue-max is given twice'),
    ('serve --queue-max ten', '--queue-max: "ten" is not a whole number'),
    ('serve --queue-max 0', '--queue-max: "0" is too small; the least is 1'),
    ('serve --queue-max 1e3', '"1e3" is not a whole number'),
    ('serve --queue-max 99999999999999999999', 'is too large'),
    ('serve --workers 1000', '--workers: "1000" is too large; the most is 256'),
    ('serve --workers -1', '--workers: "-1" is too small; the least is 0'),
    ('serve --queue-bytes 5M', '"5M" is not a size; write it like 4096, 64KiB or 256MiB; did you mean "5MiB"?'),
    ('serve --queue-bytes -5', '"-5" is not a size'),
    ('serve --memory-max 1', '"1" is too small; the least is 1MiB'),
    ('serve --grace 30', '"30" is not a duration; write it like 250ms, 30s, 5m or 1h; did you mean "30s"?'),
    ('serve --grace 1.5s', '"1.5s" is not a duration'),
    ('serve --grace 25h', '"25h" is too large; the most is 24h'),
    ('serve --drain-wait 30s', 'drain-wait is part of the stop\'s budget'),
    ('serve --log xml', '--log: "xml" is not one of text, json'),
    ('serve --log jsno', 'did you mean "json"?'),
    ('serve --store redis', '--store: "redis" is neither sqlite nor mem nor the path of a file'),
    ('serve --listen 8080', '"8080" is not an address; write 127.0.0.1:8080'),
    ('serve --listen :65536', '":65536" has a port beyond 65535'),
    ('serve --listen example.com:80', 'names a host; a server listens on an address of its machine'),
    ('serve --listen 1.2.3.400:80', 'names a host'),
    ('serve --allow-origin https://a.example/x', 'is not an origin; write https://HOST'),
    ('serve --allow-origin *', 'is not an origin'),
    ('serve --data=', '--data: it is empty'),
    ('serve now', '"now" is too much; weir serve takes only flags'),
    ('serve --config /nonexistent/weir.yaml', '/nonexistent/weir.yaml: No such file or directory'),
    ('serve --config /', '/: Is a directory'),
    ('enqueue', 'something is missing; usage: weir enqueue QUEUE [PAYLOAD | -]'),
    ('enqueue mail a b', '"b" is too much'),
    ('enqueue a/b x', '"a/b" is not a queue\'s name'),
    ('enqueue .hidden x', '".hidden" is not a queue\'s name'),
    ('enqueue mail x --priority 1001', 'the most is 1000'),
    ('enqueue mail x --delay soon', '"soon" is not a duration'),
    ('enqueue mail x --from-file y', '--from-file and a PAYLOAD exclude each other'),
    ('enqueue mail --from-file y --idempotency-key k', 'all lines would be one job'),
    ('enqueue mail --from-file /nonexistent', '--from-file /nonexistent: No such file or directory'),
    ('work mail', 'the command to run is missing; usage: weir work QUEUE -- CMD [ARG…]'),
    ('work mail true', 'a command to run goes behind --: weir work mail -- true'),
    ('work mail sh -c true', 'a command to run goes behind --'),
    ('work mail --once --drain -- true', '--once and --drain exclude each other'),
    ('work mail -j 0 -- true', '-j: "0" is too small; the least is 1'),
    ('work mail --once -j 2 -- true', '--once runs one job'),
    ('subscribe a..b', '"a..b" is not a subject'),
    ('publish orders.* x', 'holds wildcards, which only subscribe and reply take'),
    ('request orders x --timeout 0', 'is too small; the least is 1ms'),
    ('jobs mail --state runing', 'did you mean "running"?'),
    ('jobs cancel 5', '"5" is not a job\'s id'),
    ('jobs cnacel 01M82DCGM4APXZ3G0D9170P92W', 'did you mean "cancel"?'),
    ('jobs cancel', 'which job? usage: weir jobs cancel ID'),
    ('jobs retry', 'which job? usage: weir jobs retry ID'),
    ('queues paus mail', 'did you mean "pause"?'),
    ('queues pause', 'which queue? usage: weir queues pause QUEUE'),
    ('status --server localhost:8080', 'is not the URL of a server; write http://HOST:PORT'),
    ('status --server https://', 'is not the URL of a server'),
    ('status --token a --token-path b', '--token and --token-path exclude each other'),
    ('status --token-path /nonexistent', '--token-path /nonexistent: No such file or directory'),
    ('config', 'something is missing'),
    ('config chek', 'did you mean "weir config check"?'),
    ('config show x', '"x" is too much'),
    ('config check /nonexistent', '/nonexistent: No such file or directory'),
    ('help srve', 'unknown command "srve"'),
]

ENVIRONMENT = [
    ('WEIR_QUEUE_MAX', 'x', 'WEIR_QUEUE_MAX: "x" is not a whole number'),
    ('WEIR_GRACE', '5', 'WEIR_GRACE: "5" is not a duration'),
    ('WEIR_LISTEN', ':0,nowhere', 'WEIR_LISTEN: "nowhere" is not an address'),
    ('WEIR_LOG', 'yaml', 'WEIR_LOG: "yaml" is not one of text, json'),
    ('WEIR_CONFIG', '/nonexistent', '/nonexistent: No such file or directory'),
]

# (file, place and sentence)
FILES = [
    ('queue-mx: 3\n', ':1:1: unknown key "queue-mx"; did you mean "queue-max"?'),
    ('grace: 5s\nqueueMax: 3\n', ':2:1: unknown key "queueMax"; did you mean "queue-max"?'),
    ('queue-max: 1\nqueue-max: 2\n', ':2:1: queue-max is here for the second time; the first is in line 1'),
    ('queue-max: "10"\n', ':1:12: queue-max: a text in quotes is not a whole number; leave the quotes out'),
    ('queue-max: [1]\n', ':1:12: queue-max: a list is not a whole number'),
    ('queue-max:\n', 'queue-max: the value is missing'),
    ('grace: 30\n', ':1:8: grace: "30" is not a duration'),
    ('log: xml\n', ':1:6: log: "xml" is not one of text, json'),
    ('listen:\n  - :0\n  - nowhere\n', ':3:5: listen: "nowhere" is not an address'),
    ('queues:\n  mail:\n    lese: 30s\n', ':3:5: unknown key "lese" in queues.mail; did you mean "lease"?'),
    ('queues:\n  mail: {rate: 10/d}\n', ':2:16: queues.mail.rate: "10/d" is not a rate; write it like 10/s'),
    ('queues:\n  mail: {rate: 0/s}\n', ':2:16: queues.mail.rate: "0/s" would let no job run: pause the queue for that, or leave the rate away'),
    ('queues:\n  mail: {burst: 10}\n', 'queues.mail: burst, but no rate'),
    ('queues:\n  mail: {webhook: "ftp://x"}\n', 'queues.mail.webhook: "ftp://x" is not a URL such as https://HOST/PATH'),
    ('queues:\n  mail: {}\n  mail: {}\n', ':3:3: queues.mail is here for the second time'),
    ('queues:\n  "a b": {}\n', ':2:3: "a b" in queues is not a name'),
    ('crons:\n  x: {queue: mail}\n', ':2:3: crons.x: schedule is missing'),
    ('queue-max: 1\n grace: 2s\n', 'this is not YAML'),
    ('a: [1, 2\n', 'this is not YAML'),
    ('- queue-max\n', ':1:1: the file: here should be keys with values'),
    ('data: \x01\n', 'is not text in UTF-8'),
    ('x: &a 1\nqueue-max: *a\n', 'an alias (*a) cannot be used here'),
    ('queue-max: 1\n---\nqueue-max: 2\n', 'a second document begins here'),
    ('token-file: ""\n', 'token-file: it is empty'),
]


def refused(args, sentence, env=None, **kw):
    status, out, err = cli(*args, env=env, **kw)
    check_eq(status, 2, f'{args}: {err}')
    check_in(sentence, err)
    check_eq(out, b'', f'{args}')
    for line in err.splitlines():
        check(line.startswith('weir: '), line)


@test
def wrong_commands_flags_and_values():
    for line, sentence in FLAGS:
        refused(line.split(' '), sentence)


@test
def wrong_values_in_the_environment():
    for name, value, sentence in ENVIRONMENT:
        refused(['serve'], sentence, env={name: value})


def with_file(text, fn):
    with tempfile.TemporaryDirectory(prefix='weir-test-') as d:
        path = os.path.join(d, 'weir.yaml')
        with open(path, 'w') as f:
            f.write(text)
        fn(path)


@test
def wrong_files_stop_the_server_and_the_check_alike():
    for text, sentence in FILES:
        with_file(text, lambda path: (refused(['serve', '--config', path], sentence),
                                      refused(['config', 'check', path], sentence)))


@test
def a_misspelt_name_of_the_environment_is_hinted_at():
    with Weir(env={'WEIR_QUEUE_MX': '5', 'WEIR_SERVICE_HOST': 'x'}) as w:
        check_in('nothing reads WEIR_QUEUE_MX of the environment; did you mean WEIR_QUEUE_MAX?', w.err)
        check('WEIR_SERVICE_HOST' not in w.err, w.err)


@test
def all_mistakes_of_a_file_are_told_at_once():
    text = 'queue-mx: 1\ngrace: 30\nlog: xml\nlisten: 8080\nqueues: {m: {x: 1}}\n'
    with_file(text, lambda path: check_eq(len(cli('config', 'check', path)[2].splitlines()), 5))


@test
def a_good_file_is_checked_and_shown_with_its_origins():
    def run(path):
        status, out, err = cli('config', 'check', path)
        check_eq((status, err), (0, ''))
        check_in(b'is fine: 2 queues, 1 cron', out)
        status, out, err = cli('config', 'show', '--config', path, '--grace', '7s', env={'WEIR_QUEUE_BYTES': '5MiB'})
        check_eq((status, err), (0, ''))
        rows = {l.split()[0]: l.split() for l in out.decode().splitlines()}
        check_eq(rows['queue-max'][1:], ['77', '#', f'{path}:1'])
        check_eq(rows['queue-bytes'][1:], ['5MiB', '#', 'WEIR_QUEUE_BYTES'])
        check_eq(rows['grace'][1:], ['7s', '#', '--grace'])
        check_eq(rows['drain-wait'][1:], ['0', '#', 'default'])
        check_eq(rows['rate'][1:3], ['10/s', '#'])
    with_file('queue-max: 77\nqueues: {mail: {rate: 10/s}, other: {}}\ncrons: {x: {schedule: "* * * * *", queue: mail}}\n', run)


@test
def the_sample_file_is_fine():
    sample = os.path.join(ROOT, 'doc/weir.yaml')
    check_in(b'is fine: 3 queues, 1 cron', cli('config', 'check', sample, check_status=0)[1])


@test
def config_show_gives_json_too():
    status, out, _ = cli('config', 'show', '--json', check_status=0)
    shown = json.loads(out)
    check_eq(shown['queue-max'], {'value': '100000', 'origin': 'default'})
    check('token' not in shown, shown)


@test
def help_is_there_for_everything():
    status, out, err = cli(check_status=0)
    check_eq(err, '')
    check_in(b'weir serve', out)
    check(len(out.splitlines()) < 30, 'short')
    check_eq(cli('--help')[1], out)
    for command in re.findall(rb'^  (\w+) {2,}', out, re.M):
        status, text, err = cli(command.decode(), '--help', check_status=0)
        check_in(b'usage: weir ' + command, text)
        check_eq(cli('help', command.decode())[1], text)
        check(max(len(l) for l in text.decode().splitlines()) < 130, command)
    check_in(b'--queue-max N', cli('serve', '--help')[1])
    check_in(b'[100000]', cli('serve', '--help')[1])


@test
def the_manual_has_every_flag():
    status, man, _ = cli('man', check_status=0)
    check(man.startswith(b'.TH WEIR 1'), man[:40])
    for flag in re.findall(rb'--([a-z-]+)', cli('serve', '--help')[1] + cli('work', '--help')[1]):
        check_in(b'\\-\\-' + flag.replace(b'-', b'\\-'), man)


@test
def bash_completes_commands_and_flags():
    script = cli('completion', check_status=0)[1].decode()

    def complete(*words):
        ask = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _weir; echo ${COMPREPLY[@]}'
        return subprocess.run(['bash', '-c', script + ask, 'bash', *words], capture_output=True, check=True).stdout.decode().split()
    check_in('serve', complete('weir', ''))
    check_eq(complete('weir', 'enq'), ['enqueue'])
    check_eq(complete('weir', 'serve', '--queue-'), ['--queue-max', '--queue-bytes'])
    check_eq(complete('weir', 'work', 'mail', '--kill'), ['--kill-after'])


if __name__ == '__main__':
    main()
