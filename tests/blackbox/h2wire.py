# SPDX-License-Identifier: MIT
"""HTTP/2 frame by frame, for what no well-behaved client sends. Heads are written as literals, and read with nghttp2's
decoder, which keeps a table over a connection's life.

    with H2(port) as c:
        c.request(1, 'GET', '/healthz')
        a = c.answer(1)          # .status .headers .body .trailers
"""
import ctypes
import socket
import ssl
import struct
import time

from weirtest import LIMIT, check, check_eq, fail

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, \
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(12)
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'


def frame(type, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes([type, flags]) + struct.pack('>I', stream) + payload


def settings(*pairs):
    return b''.join(struct.pack('>HI', k, v) for k, v in pairs)


def number(n, bits, first):
    if n < (1 << bits) - 1:
        return bytes([first | n])
    out = [first | ((1 << bits) - 1)]
    n -= (1 << bits) - 1
    while n >= 128:
        out.append(n % 128 + 128)
        n //= 128
    return bytes(out + [n])


def raw(s):
    return s if isinstance(s, bytes) else s.encode()


def block(fields):
    """A field section of literals that go into no table."""
    out = b''
    for name, value in fields:
        name, value = raw(name), raw(value)
        out += b'\0' + number(len(name), 7, 0) + name + number(len(value), 7, 0) + value
    return out


def head(method='GET', path='/healthz', *more, scheme='http', authority='localhost'):
    return [(':method', method), (':scheme', scheme), (':path', path), (':authority', authority), *more]


class Nv(ctypes.Structure):
    _fields_ = [('name', ctypes.c_void_p), ('value', ctypes.c_void_p), ('name_len', ctypes.c_size_t),
                ('value_len', ctypes.c_size_t), ('flags', ctypes.c_uint8)]


class Inflater:
    lib = None

    def __init__(self):
        if not Inflater.lib:
            lib = Inflater.lib = ctypes.CDLL('libnghttp2.so.14')
            lib.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
            lib.nghttp2_hd_inflate_hd2.argtypes = [ctypes.c_void_p, ctypes.POINTER(Nv), ctypes.POINTER(ctypes.c_int),
                                                   ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
        self.it = ctypes.c_void_p()
        check_eq(self.lib.nghttp2_hd_inflate_new(ctypes.byref(self.it)), 0)

    def close(self):
        self.lib.nghttp2_hd_inflate_del(self.it)

    def decode(self, data):
        out = []
        while True:
            nv, flags = Nv(), ctypes.c_int()
            n = self.lib.nghttp2_hd_inflate_hd2(self.it, ctypes.byref(nv), ctypes.byref(flags), data, len(data), 1)
            check(n >= 0, f'a head that cannot be read: {n}')
            data = data[n:]
            if flags.value & 2:
                out.append((ctypes.string_at(nv.name, nv.name_len).decode(),
                            ctypes.string_at(nv.value, nv.value_len).decode('latin-1')))
            if flags.value & 1:
                self.lib.nghttp2_hd_inflate_end_headers(self.it)
                return out
            check(data or flags.value & 2, 'a head without an end')


class Frame:
    def __init__(self, type, flags, stream, payload):
        self.type, self.flags, self.stream, self.payload = type, flags, stream, payload

    @property
    def code(self):
        return struct.unpack('>I', self.payload[4:8] if self.type == GOAWAY else self.payload[:4])[0]

    @property
    def last(self):
        return struct.unpack('>I', self.payload[:4])[0] & 0x7fffffff

    def __repr__(self):
        return f'<frame type {self.type} flags {self.flags:#x} stream {self.stream} {self.payload[:60]!r}>'


class Answer:
    def __init__(self):
        self.fields, self.body, self.trailers = None, b'', None
        self.interim, self.reset, self.ended = [], None, False

    @property
    def status(self):
        return int(dict(self.fields)[':status']) if self.fields else None

    def header(self, name):
        return dict(self.fields).get(name)

    def __repr__(self):
        return f'<answer {self.fields} {self.body[:100]!r} trailers {self.trailers} reset {self.reset}>'


class H2:
    def __init__(self, port, *pairs, tls=False, preface=True, timeout=LIMIT, auto=True):
        self.sock = socket.create_connection(('127.0.0.1', port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            ctx = ssl.create_default_context()
            ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
            ctx.set_alpn_protocols(['h2'])
            self.sock = ctx.wrap_socket(self.sock)
            check_eq(self.sock.selected_alpn_protocol(), 'h2')
        self.buf, self.inflater, self.answers, self.log = b'', Inflater(), {}, []
        self.settings, self.goaways, self.auto, self.ended, self.pings = {}, [], auto, False, 0
        if preface:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings(*pairs)))

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    def close(self):
        self.sock.close()
        if self.inflater:
            self.inflater.close()
            self.inflater = None

    def send(self, *frames):
        """What the server has already refused to read is no error: its answer tells."""
        try:
            self.sock.sendall(b''.join(frames))
        except (ConnectionResetError, BrokenPipeError):
            pass

    def headers(self, stream, fields, flags=END_STREAM | END_HEADERS):
        self.send(frame(HEADERS, flags, stream, block(fields)))

    def request(self, stream, method='GET', path='/healthz', *more, body=None):
        self.headers(stream, head(method, path, *more), END_HEADERS | (END_STREAM if body is None else 0))
        if body is not None:
            self.send(frame(DATA, END_STREAM, stream, body))

    def next(self):
        """The next frame; None at the end of the stream."""
        while len(self.buf) < 9 or len(self.buf) < 9 + int.from_bytes(self.buf[:3], 'big'):
            try:
                d = self.sock.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                d = b''
            if not d:
                self.ended = True
                return None
            self.buf += d
        n = int.from_bytes(self.buf[:3], 'big')
        f = Frame(self.buf[3], self.buf[4], int.from_bytes(self.buf[5:9], 'big') & 0x7fffffff, self.buf[9:9 + n])
        self.buf = self.buf[9 + n:]
        self.log.append(f)
        self._take(f)
        return f

    def _take(self, f):
        if f.type == SETTINGS and not f.flags & ACK:
            for i in range(0, len(f.payload), 6):
                k, v = struct.unpack('>HI', f.payload[i:i + 6])
                self.settings[k] = v
            if self.auto:
                self.send(frame(SETTINGS, ACK, 0))
        elif f.type == PING and not f.flags & ACK and self.auto:
            self.send(frame(PING, ACK, 0, f.payload))
        elif f.type == GOAWAY:
            self.goaways.append(f)
        elif f.type in (HEADERS, DATA, RST_STREAM):
            a = self.answers.setdefault(f.stream, Answer())
            if f.type == HEADERS:
                check(f.flags & END_HEADERS, 'heads in several frames are not read here')
                fields = self.inflater.decode(f.payload)
                if a.fields is None and dict(fields)[':status'][0] == '1':
                    a.interim.append(fields)
                elif a.fields is None:
                    a.fields = fields
                else:
                    a.trailers = fields
            elif f.type == DATA:
                a.body += f.payload
                if self.auto and f.payload:
                    self.send(self.window(0, len(f.payload)), self.window(f.stream, len(f.payload)))
            else:
                a.reset = f.code
            if f.type != RST_STREAM and f.flags & END_STREAM:
                a.ended = True

    @staticmethod
    def window(stream, n):
        return frame(WINDOW_UPDATE, 0, stream, struct.pack('>I', n))

    def wait(self, question, text='it did not come'):
        """Reads frames until question() is true."""
        while not question():
            if self.next() is None:
                fail(f'{text}: the connection ended after {self.log[-6:]}')

    def answer(self, stream):
        """The whole answer, or that it was reset."""
        a = self.answers.setdefault(stream, Answer())
        self.wait(lambda: a.ended or a.reset is not None, f'no answer on stream {stream}')
        return a

    def ping(self, payload=None):
        """Everything before it has been taken in."""
        self.pings += 1
        payload = payload or struct.pack('>Q', self.pings)
        self.send(frame(PING, 0, 0, payload))
        n = len(self.log)
        self.wait(lambda: any(f.type == PING and f.flags & ACK and f.payload == payload for f in self.log[n:]),
                  'no answer to a PING')

    def quiet(self):
        """Nothing more comes by itself: what handlers had to say has been said."""
        for _ in range(3):
            self.ping()
            time.sleep(0.01)
        self.ping()

    def refused(self, *codes):
        """A connection error: GOAWAY with one of these codes, and the end."""
        while self.next() is not None:
            pass
        check(self.goaways, f'no GOAWAY, but {self.log[-4:]}')
        check(self.goaways[-1].code in codes, f'{self.goaways[-1]} has not a code of {codes}')

    def refused_stream(self, stream, *codes):
        """A stream error, and the connection goes on; or (RFC 9113 §5.4.2) a connection error with that code."""
        a = self.answers.setdefault(stream, Answer())
        while a.reset is None and self.next() is not None:
            pass
        if a.reset is None:
            check(self.goaways and self.goaways[-1].code in codes, f'neither reset nor GOAWAY, but {self.log[-4:]}')
            return
        check(a.reset in codes, f'{a} has not a code of {codes}')
        self.ping()

    def rest(self):
        """All frames up to the end."""
        while self.next() is not None:
            pass
        return self.log
