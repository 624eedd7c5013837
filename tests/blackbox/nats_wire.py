# SPDX-License-Identifier: MIT
"""NATS by hand: what no well-behaved client sends, and what each client would hide."""
import contextlib
import json
import re
import socket

from weirtest import *


class NatsWeir(Weir):
    """A `weir serve` that serves NATS clients, too."""

    def __init__(self, *flags, nats='127.0.0.1:0', **kw):
        super().__init__('--nats', nats, *flags, **kw)
        m = self.wait_err(r'listening on nats://([^\s"]+):(\d+)')
        self.nats_port = int(m.group(2))

    def nats(self, connect=True, **options):
        return Wire(self.nats_port, connect, **options)


class Wire(Raw):
    """A connection that has read INFO and, with `connect`, sent CONNECT and heard the PONG behind it."""

    def __init__(self, port, connect=True, timeout=LIMIT, **options):
        super().__init__(port, timeout)
        line = self.read_until(b'\r\n')
        check(line.startswith(b'INFO '), line)
        self.info = json.loads(line[5:])
        if connect:
            self.connect(**options)
            self.ping()

    def connect(self, **options):
        self.send('CONNECT ' + json.dumps({'verbose': False, 'pedantic': False, 'headers': True, 'protocol': 1,
                                           **options}) + '\r\n')

    def ping(self):
        """All that was sent is obeyed: what came before the PONG."""
        self.send(b'PING\r\n')
        return self.read_until(b'PONG\r\n')[:-6]

    def line(self):
        return self.read_until(b'\r\n')[:-2].decode()

    def message(self):
        """(subject, sid, reply, headers, payload) of the next MSG or HMSG."""
        words = self.line().split(' ')
        check(words[0] in ('MSG', 'HMSG'), words)
        sizes = 2 if words[0] == 'HMSG' else 1
        total = int(words[-1])
        head = int(words[-2]) if sizes == 2 else 0
        body = self.read_n(total + 2)
        check(body.endswith(b'\r\n') and len(body) == total + 2, body)
        reply = words[3] if len(words) == 4 + sizes else None
        return words[1], words[2], reply, body[:head], body[head:total]

    def ended(self):
        """The rest of the stream, which the server ends."""
        return self.read_all()
