# SPDX-License-Identifier: MIT
"""A port of this process behind which a server is spoken to in HTTP/2, so that a test written in HTTP/1.1 is one of HTTP/2, too.

A connection there is a connection here, and its requests are the streams of that, one after the other. What a client takes slowly, the
server may send slowly. A stream that is reset ends the client's connection in the middle of the answer; an end of the client's sending
is the end of all, since HTTP/2 has no word for a client that only listens on.
"""
import contextlib
import http
import select
import socket
import ssl
import struct
import threading
import time

from h2wire import *

OF_CONNECTIONS = {'host', 'connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'te'}
NO_MORE = 0x7fffffff
ON_ITS_WAY = 0.5  # seconds that a request may take from a client to here; the server's last word comes after 1 s anyway


class Left(Exception):
    """One of the two has gone."""


class Line:
    """One connection: requests from `client` go to `server`."""

    def __init__(self, client, server, scheme):
        self.client, self.server, self.scheme = client, server, scheme
        self.from_client, self.from_server = b'', b''
        self.inflater = Inflater()
        self.windows, self.first_window, self.frame_max = {0: 65535}, 65535, 16384
        self.stream = -1            # of the request that is served
        self.busy = False           # its answer is not complete
        self.body = None            # of the request that is to come: bytes left, 'chunks', or None
        self.head = self.chunked = False
        self.last = None            # of the last GOAWAY
        self.block = b''
        self.late_ping = None       # the answer to a PING behind GOAWAY, and when it is due

    def run(self):
        try:
            self.tell(PREFACE, frame(SETTINGS, 0, 0))
            while not (self.last not in (None, NO_MORE) and not self.busy):
                self.wait()
        except (Left, OSError):
            pass
        finally:
            self.inflater.close()
            for s in (self.client, self.server):
                with contextlib.suppress(OSError):
                    s.close()

    def wait(self):
        while self.take_request():
            pass
        # What cannot be sent on is not read either.
        reads = [self.server] if len(self.from_client) > 65536 else [self.server, self.client]
        if isinstance(self.server, ssl.SSLSocket) and self.server.pending():
            ready = [self.server]
        else:
            ready = select.select(reads, [], [], self.late_ping and max(0, self.late_ping[1] - time.monotonic()))[0]
        # The server's last word comes behind this answer: a request that is on its way is to come before.
        if self.late_ping and ((self.busy and not self.started) or (self.client not in ready and time.monotonic() >= self.late_ping[1])):
            self.tell(self.late_ping[0])
            self.late_ping = None
        if self.client in ready:
            data = self.client.recv(65536)
            if not data:
                raise Left
            self.from_client += data
        if self.server in ready:
            data = self.server.recv(65536)
            if not data:
                raise Left
            self.from_server += data
            while self.take_frame():
                pass

    def tell(self, *frames):
        self.server.sendall(b''.join(frames))

    # ---- requests ----

    def take_request(self):
        """Moves one part of a request; False when there is none, or no room for it."""
        if self.body is not None:
            return self.take_chunk() if self.body == 'chunks' else self.take_body()
        if self.busy or b'\r\n\r\n' not in self.from_client:
            return False
        head, self.from_client = self.from_client.split(b'\r\n\r\n', 1)
        first, *lines = head.decode('latin-1').lstrip('\r\n').split('\r\n')
        method, target, version = first.split(' ')
        fields = [(k.strip().lower(), v.strip()) for k, v in (line.split(':', 1) for line in lines)]
        given = dict(fields)
        self.old, self.head = version == 'HTTP/1.0', method == 'HEAD'
        self.closes = given.get('connection', '').lower() == 'close' or (self.old and 'connection' not in given)
        self.stream += 2
        self.busy, self.started, self.out_over = True, False, False
        self.windows[self.stream] = self.first_window
        self.body = 'chunks' if 'transfer-encoding' in given else int(given.get('content-length', 0)) or None
        fields = [(k, v.encode('latin-1')) for k, v in fields if k not in OF_CONNECTIONS]
        all = block([(':method', method), (':scheme', self.scheme), (':path', target), (':authority', given.get('host', 'localhost')),
                     *fields])
        kind, flags = HEADERS, 0 if self.body is not None else END_STREAM
        while True:
            part, all = all[:self.frame_max], all[self.frame_max:]
            self.tell(frame(kind, flags | (0 if all else END_HEADERS), self.stream, part))
            if not all:
                return True
            kind, flags = CONTINUATION, 0

    def put(self, data, end):
        """As much of a body as there is a window for: how much."""
        if self.out_over:
            return len(data)
        n = min(len(data), self.frame_max, self.windows[0], self.windows[self.stream])
        end = end and n == len(data)
        if n or end:
            self.tell(frame(DATA, END_STREAM if end else 0, self.stream, data[:n]))
            self.windows[0] -= n
            self.windows[self.stream] -= n
        return n

    def take_body(self):
        data = self.from_client[:self.body]
        n = self.put(data, len(data) == self.body)
        self.from_client, self.body = self.from_client[n:], self.body - n or None
        return n > 0

    def take_chunk(self):
        if b'\r\n' not in self.from_client:
            return False
        line, rest = self.from_client.split(b'\r\n', 1)
        size = int(line.split(b';')[0], 16)
        if size == 0:
            if b'\r\n' not in rest:
                return False
            self.put(b'', True)
            self.from_client, self.body = rest.split(b'\r\n', 1)[1], None
            return True
        if len(rest) < size + 2:
            return False
        n = self.put(rest[:size], False)
        # What is left is a smaller chunk.
        self.from_client = rest[size + 2:] if n == size else b'%x\r\n' % (size - n) + rest[n:]
        return n > 0

    # ---- answers ----

    def take_frame(self):
        if len(self.from_server) < 9:
            return False
        n = int.from_bytes(self.from_server[:3], 'big')
        if len(self.from_server) < 9 + n:
            return False
        f = Frame(self.from_server[3], self.from_server[4], int.from_bytes(self.from_server[5:9], 'big') & NO_MORE,
                  self.from_server[9:9 + n])
        self.from_server = self.from_server[9 + n:]
        mine = f.stream == self.stream and self.busy
        if f.type == SETTINGS and not f.flags & ACK:
            self.take_settings(f.payload)
        elif f.type == PING and not f.flags & ACK:
            self.late_ping = (frame(PING, ACK, 0, f.payload), time.monotonic() + (ON_ITS_WAY if self.last == NO_MORE else 0))
        elif f.type == WINDOW_UPDATE:
            self.windows[f.stream] = self.windows.get(f.stream, 0) + struct.unpack('>I', f.payload)[0]
        elif f.type == GOAWAY:
            self.last = f.last
            if self.busy and self.stream > self.last:
                raise Left
        elif f.type in (HEADERS, CONTINUATION):
            self.take_head(f, mine)
        elif f.type == DATA:
            if mine and f.payload:
                self.client.sendall(b'%x\r\n%b\r\n' % (n, f.payload) if self.chunked else f.payload)
            self.tell(*(H2.window(s, n) for s in (0, f.stream) if n))
            if mine and f.flags & END_STREAM:
                self.answered()
        elif f.type == RST_STREAM and f.stream == self.stream:
            self.out_over = True
            if self.busy:
                raise Left
        return True

    def take_settings(self, payload):
        for i in range(0, len(payload), 6):
            k, v = struct.unpack('>HI', payload[i:i + 6])
            if k == INITIAL_WINDOW_SIZE:
                for s in self.windows:
                    self.windows[s] += v - self.first_window if s else 0
                self.first_window = v
        self.tell(frame(SETTINGS, ACK, 0))

    def take_head(self, f, mine):
        if f.type == HEADERS:
            self.block, self.ends = b'', f.flags & END_STREAM
        self.block += f.payload
        if not f.flags & END_HEADERS:
            return
        fields = self.inflater.decode(self.block)
        if mine and not self.started:
            self.put_head(int(dict(fields)[':status']), [(k, v) for k, v in fields if k[0] != ':'])
        if mine and self.ends:
            self.answered()

    def put_head(self, status, fields):
        phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else ''
        lines = [f'HTTP/1.1 {status} {phrase}'] + [f'{k}: {v}' for k, v in fields]
        if status >= 200:
            self.started = True
            sized = 'content-length' in dict(fields) or status in (204, 304)
            self.chunked = not (sized or self.head or self.ends or self.old)
            if self.chunked:
                lines.append('transfer-encoding: chunked')
            elif self.ends and not sized and not self.head:
                lines.append('content-length: 0')
            self.closes = self.closes or self.last is not None or (self.old and not sized)
            if self.closes:
                lines.append('connection: close')
        self.client.sendall('\r\n'.join([*lines, '', '']).encode('latin-1'))

    def answered(self):
        if self.chunked:
            self.client.sendall(b'0\r\n\r\n')
        self.busy = self.chunked = False
        if self.closes:
            raise Left


class Gateway(threading.Thread):
    def __init__(self, port, ca=None):
        super().__init__(daemon=True)
        self.to, self.context = port, None
        if ca:
            self.context = ssl.create_default_context(cafile=ca)
            self.context.set_alpn_protocols(['h2'])
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.start()

    def serve(self, client):
        try:
            server = socket.create_connection(('127.0.0.1', self.to))
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                server = self.context.wrap_socket(server, server_hostname='127.0.0.1')
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Line(client, server, 'https' if self.context else 'http').run()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()
