#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A small server of the JSON protocol of Amazon SQS, for tests: standard queues, kept in a file over kill -9 and a new start.

It follows the API reference of SQS (actions, limits, errors by name) and checks every signature (AWS Signature Version 4) itself.
What Weir is shown with here has been run against other servers too; doc/design/engines.md says which.

    sqs_server.py --port 9324 [--host ADDR] [--file LOG] [--tls CERT KEY]

POST /_control with JSON changes how it behaves: {"fail": {"action": …, "code": …, "status": 400, "times": 3}}, {"say": {action:
answer}}, {"clock": seconds that it is ahead}, {"keys": {id: [secret, token or null, expiry or null]}}, {"forget": queue}, {"forget_keys": true}, {"put":
[queue, text]}, {"hide": queue}, which gives one message to somebody for a minute; it answers what it has counted.
GET /keys gives out temporary keys as a container's endpoint does, to who has the token "Bearer t"; each lives as long as {"life":
seconds} says.
"""
import argparse
import asyncio
import collections
import datetime
import hashlib
import heapq
import hmac
import json
import re
import signal
import ssl
import time
import uuid

NAME = re.compile(r'[A-Za-z0-9_-]{1,80}$')
BAD_TEXT = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
BATCH, MESSAGE, HIDDEN, DELAY, IN_FLIGHT = 10, 1 << 20, 43200, 900, 120000
DEFAULTS = {'VisibilityTimeout': '30', 'MessageRetentionPeriod': '345600', 'DelaySeconds': '0', 'MaximumMessageSize': str(MESSAGE),
            'ReceiveMessageWaitTimeSeconds': '0'}


class Refused(Exception):
    def __init__(self, code, why, status=400):
        self.code, self.why, self.status = code, why, status


def number(d, name, low, high, default):
    v = d.get(name, default)
    if not isinstance(v, int) or isinstance(v, bool) or not low <= v <= high:
        raise Refused('InvalidParameterValue', f'Value {v} for parameter {name} is invalid. Reason: Must be between {low} and {high}, '
                      'if provided.')
    return v


class Queue:
    def __init__(self, name, attributes):
        self.name, self.attributes = name, attributes
        self.messages = {}  # by id: [id, body, attributes, sent, first receipt, receipts, visible at]
        self.ready, self.later = collections.deque(), []
        self.changed = asyncio.Event()

    def place(self, m):
        if m[6] <= time.time():
            self.ready.append(m)
        else:
            heapq.heappush(self.later, (m[6], m[0], m))
        self.changed.set()

    def due(self):
        while self.later and self.later[0][0] <= time.time():
            at, _, m = heapq.heappop(self.later)
            if self.messages.get(m[0]) is m and m[6] == at:
                self.ready.append(m)

    def take(self, n):
        self.due()
        got = []
        while self.ready and len(got) < n:
            m = self.ready.popleft()
            if self.messages.get(m[0]) is m and m[6] <= time.time():
                got.append(m)
        return got

    def counts(self):
        now = time.time()
        hidden = sum(m[6] > now and m[5] > 0 for m in self.messages.values())
        delayed = sum(m[6] > now and m[5] == 0 for m in self.messages.values())
        return len(self.messages) - hidden - delayed, hidden, delayed


class Server:
    def __init__(self, file):
        self.queues, self.counted = {}, collections.Counter()
        self.failing, self.saying, self.clock, self.life = [], {}, 0, 3600
        self.keys = {'AKIDEXAMPLE': ['wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY', None, None]}
        self.log = None
        if file:
            self.load(file)
            self.log = open(file, 'ab', buffering=0)

    # What is kept, a line a change.

    def keep(self, *line):
        if self.log:
            self.log.write(json.dumps(line).encode() + b'\n')

    def load(self, file):
        try:
            with open(file, 'rb') as f:
                text = f.read()
        except FileNotFoundError:
            return
        for line in text.split(b'\n'):
            try:
                what, queue, *more = json.loads(line)
            except ValueError:
                continue  # the end, cut off
            if what == 'queue':
                self.queues[queue] = Queue(queue, more[0])
            elif what == 'forget':
                self.queues.pop(queue, None)
            elif what == 'delete':
                self.queues[queue].messages.pop(more[0], None)
            elif what == 'message':
                self.queues[queue].messages[more[0][0]] = more[0]
            elif what == 'seen':
                m = self.queues[queue].messages.get(more[0])
                if m:
                    m[4:] = more[1:]
        for q in self.queues.values():
            for m in q.messages.values():
                q.place(m)

    # Signatures.

    def check_signature(self, headers, body):
        now = time.time() + self.clock
        m = re.match(r'AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/sqs/aws4_request, ?SignedHeaders=([^,]+), ?Signature=(\w+)$',
                     headers.get('authorization', ''))
        if not m:
            raise Refused('MissingAuthenticationTokenException', 'Request is missing Authentication Token', 403)
        id, day, region, signed, signature = m.groups()
        secret, token, end = self.keys.get(id, (None, None, None))
        if secret is None or headers.get('x-amz-security-token') != token:
            raise Refused('UnrecognizedClientException', 'The security token included in the request is invalid.', 403)
        if end and now > end:
            raise Refused('ExpiredTokenException', 'The security token included in the request is expired', 403)
        names = signed.split(';')
        if names != sorted(names) or not {'host', 'x-amz-date'} <= set(names) or 'x-amz-target' not in names:
            raise Refused('InvalidSignatureException', 'headers are missing in the signature', 403)
        at = headers['x-amz-date']
        then = datetime.datetime.strptime(at, '%Y%m%dT%H%M%SZ').replace(tzinfo=datetime.timezone.utc).timestamp()
        if abs(then - now) > 900:
            here = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
            raise Refused('InvalidSignatureException', f'Signature expired: {at} is now earlier than {here} ({here} - 15 min.)'
                          if then < now else f'Signature not yet current: {at} is still later than {here} ({here} + 15 min.)', 403)
        request = '\n'.join(['POST', '/', ''] + [f'{n}:{" ".join(headers[n].split())}' for n in names] +
                            ['', signed, hashlib.sha256(body).hexdigest()])
        text = f'AWS4-HMAC-SHA256\n{at}\n{day}/{region}/sqs/aws4_request\n{hashlib.sha256(request.encode()).hexdigest()}'
        key = ('AWS4' + secret).encode()
        for part in (day, region, 'sqs', 'aws4_request'):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        if not at.startswith(day) or hmac.new(key, text.encode(), hashlib.sha256).hexdigest() != signature:
            raise Refused('InvalidSignatureException', 'The request signature we calculated does not match the signature you provided.',
                          403)

    # Actions.

    def queue(self, d):
        name = str(d.get('QueueUrl', '')).rsplit('/', 1)[-1]
        if name not in self.queues:
            raise Refused('QueueDoesNotExist', 'The specified queue does not exist.')
        return self.queues[name]

    def url(self, name):
        return {'QueueUrl': f'{self.base}/000000000000/{name}'}

    def list_queues(self, d):
        names = [n for n in sorted(self.queues) if n.startswith(d.get('QueueNamePrefix', ''))]
        return {'QueueUrls': [self.url(n)['QueueUrl'] for n in names[:number(d, 'MaxResults', 1, 1000, 1000)]]}

    def get_queue_url(self, d):
        if d.get('QueueName') not in self.queues:
            raise Refused('QueueDoesNotExist', 'The specified queue does not exist.')
        return self.url(d['QueueName'])

    def create_queue(self, d):
        name, attributes = d.get('QueueName', ''), {**DEFAULTS, **d.get('Attributes', {})}
        if not NAME.match(name):
            raise Refused('InvalidParameterValue', 'Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length')
        if set(attributes) - set(DEFAULTS):
            raise Refused('InvalidAttributeName', f'Unknown Attribute {(set(attributes) - set(DEFAULTS)).pop()}.')
        if self.queues.get(name) and self.queues[name].attributes != attributes:
            raise Refused('QueueNameExists', 'A queue already exists with the same name and a different value for an attribute')
        if name not in self.queues:
            self.queues[name] = Queue(name, attributes)
            self.keep('queue', name, attributes)
        return self.url(name)

    def get_queue_attributes(self, d):
        q = self.queue(d)
        visible, hidden, delayed = q.counts()
        return {'Attributes': {**q.attributes, 'ApproximateNumberOfMessages': str(visible),
                               'ApproximateNumberOfMessagesNotVisible': str(hidden), 'ApproximateNumberOfMessagesDelayed': str(delayed)}}

    def message_of(self, e):
        body, attributes = e.get('MessageBody'), e.get('MessageAttributes', {})
        if not isinstance(body, str) or not body:
            raise Refused('MissingParameter', 'The request must contain the parameter MessageBody.')
        size = len(body.encode('utf-8', 'surrogatepass'))
        if BAD_TEXT.search(body):
            raise Refused('InvalidMessageContents', 'Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | …')
        if len(attributes) > 10:
            raise Refused('InvalidParameterValue', 'Number of message attributes [11] exceeds the allowed maximum [10].')
        for name, a in attributes.items():
            value = a.get('StringValue')
            if not re.match(r'[A-Za-z0-9_.-]{1,256}$', name) or a.get('DataType') != 'String' or not value or BAD_TEXT.search(value):
                raise Refused('InvalidParameterValue', f'The message attribute {name} is invalid')
            size += len(name) + len('String') + len(value.encode())
        if size > MESSAGE:
            raise Refused('InvalidParameterValue', f'One or more parameters are invalid. Reason: Message must be shorter than {MESSAGE} '
                          'bytes.')
        delay = number(e, 'DelaySeconds', 0, DELAY, 0)
        now = time.time()
        return [str(uuid.uuid4()), body, attributes, now, None, 0, now + delay if delay else 0], size

    def batch(self, d, one):
        entries = d.get('Entries') or []
        if not entries:
            raise Refused('EmptyBatchRequest', 'The batch request does not contain any entries.')
        if len(entries) > BATCH:
            raise Refused('TooManyEntriesInBatchRequest', 'Maximum number of entries per request are 10.')
        if len({e.get('Id') for e in entries}) < len(entries):
            raise Refused('BatchEntryIdsNotDistinct', 'Two or more batch entries in the request have the same Id.')
        good, bad = [], []
        for e in entries:
            try:
                good.append({'Id': e['Id'], **one(e)})
            except Refused as r:
                bad.append({'Id': e['Id'], 'Code': r.code, 'Message': r.why, 'SenderFault': True})
        return {k: v for k, v in (('Successful', good), ('Failed', bad)) if v}

    def send_message_batch(self, d):
        q, total = self.queue(d), 0
        made = {}
        for e in d.get('Entries') or []:
            try:
                made[e.get('Id')] = self.message_of(e)
                total += made[e.get('Id')][1]
            except Refused as r:
                made[e.get('Id')] = r
        if total > MESSAGE:
            raise Refused('BatchRequestTooLong', f'Batch requests cannot be longer than {MESSAGE} bytes.')

        def one(e):
            if isinstance(made[e['Id']], Refused):
                raise made[e['Id']]
            m = made[e['Id']][0]
            q.messages[m[0]] = m
            self.keep('message', q.name, m)
            q.place(m)
            return {'MessageId': m[0], 'MD5OfMessageBody': hashlib.md5(m[1].encode()).hexdigest()}
        return self.batch(d, one)

    def held(self, q, e):
        """The message of a receipt handle, and whether it is the handle of the last receipt."""
        handle = str(e.get('ReceiptHandle', ''))
        id, _, n = handle.rpartition('#')
        if not re.match(r'[0-9a-f-]{36}$', id) or not n.isdigit():
            raise Refused('ReceiptHandleIsInvalid', f'The input receipt handle "{handle}" is not a valid receipt handle.')
        m = q.messages.get(id)
        return m, m is not None and m[5] == int(n)

    def delete_message_batch(self, d):
        q = self.queue(d)

        def one(e):
            m, last = self.held(q, e)
            if m and last:  # An older handle deletes nothing, and that is no error.
                del q.messages[m[0]]
                self.keep('delete', q.name, m[0])
            return {}
        return self.batch(d, one)

    def change_message_visibility_batch(self, d):
        q = self.queue(d)

        def one(e):
            m, last = self.held(q, e)
            hide, now = number(e, 'VisibilityTimeout', 0, HIDDEN, -1), time.time()
            if not m or not last or m[6] <= now:
                raise Refused('MessageNotInflight', 'The message referred to is not in flight.')
            if now + hide - m[4] > HIDDEN:
                raise Refused('InvalidParameterValue', 'Total VisibilityTimeout for the message is beyond the limit [43200 seconds]')
            m[6] = now + hide if hide else 0
            self.keep('seen', q.name, m[0], *m[4:])
            q.place(m)
            return {}
        return self.batch(d, one)

    async def receive_message(self, d, gone):
        q = self.queue(d)
        most, wait = number(d, 'MaxNumberOfMessages', 1, 10, 1), number(d, 'WaitTimeSeconds', 0, 20, 0)
        hide = number(d, 'VisibilityTimeout', 0, HIDDEN, int(q.attributes['VisibilityTimeout']))
        if q.counts()[1] >= IN_FLIGHT:
            raise Refused('OverLimit', 'The maximum number of in flight messages is reached')
        end = time.time() + wait
        while not (got := q.take(most)) and time.time() < end and not gone():
            q.changed.clear()
            until = min([end] + [at for at, *_ in q.later[:1]])
            try:
                await asyncio.wait_for(q.changed.wait(), max(min(until - time.time(), 0.5), 0.001))
            except asyncio.TimeoutError:
                pass
        if gone():
            q.ready.extendleft(reversed(got))
            return {}
        answer = []
        for m in got:
            m[4], m[5], m[6] = time.time(), m[5] + 1, time.time() + hide
            self.keep('seen', q.name, m[0], *m[4:])
            q.place(m)
            a = {'MessageId': m[0], 'ReceiptHandle': f'{m[0]}#{m[5]}', 'Body': m[1], 'MD5OfBody': hashlib.md5(m[1].encode()).hexdigest()}
            known = {'ApproximateReceiveCount': str(m[5]), 'SentTimestamp': str(int(m[3] * 1000))}
            asked = d.get('MessageSystemAttributeNames', []) + d.get('AttributeNames', [])
            if system := {k: v for k, v in known.items() if k in asked or 'All' in asked}:
                a['Attributes'] = system
            if m[2] and {'All', '.*'} & set(d.get('MessageAttributeNames', [])):
                a['MessageAttributes'] = m[2]
            answer.append(a)
        return {'Messages': answer} if answer else {}

    # HTTP.

    async def act(self, headers, body, gone):
        target = headers.get('x-amz-target', '')
        action = target.removeprefix('AmazonSQS.')
        self.counted[action] += 1
        for f in self.failing:
            if f['times'] and f['action'] in (action, '*'):
                f['times'] -= 1
                raise Refused(f['code'], f.get('why', 'as it was told to'), f.get('status', 400))
        self.check_signature(headers, body)
        if action in self.saying:
            return self.saying[action]
        try:
            d = json.loads(body)
        except ValueError:
            raise Refused('SerializationException', 'no JSON') from None
        if action == 'ReceiveMessage':
            return await self.receive_message(d, gone)
        name = re.sub(r'(?<!^)(?=[A-Z])', '_', action).lower()
        if name not in ('list_queues', 'get_queue_url', 'create_queue', 'get_queue_attributes', 'send_message_batch',
                        'delete_message_batch', 'change_message_visibility_batch'):
            raise Refused('InvalidAction', f'The action {action} is not valid for this endpoint.', 404)
        return getattr(self, name)(d)

    def control(self, d):
        if 'fail' in d:
            self.failing = [d['fail']]
        if 'say' in d:
            self.saying = d['say']
        if 'forget' in d:
            self.queues.pop(d['forget'])
            self.keep('forget', d['forget'])
        if 'forget_keys' in d:
            self.keys = {}
        if 'hide' in d:
            q = self.queues[d['hide']]
            for m in q.take(1):
                m[5], m[6] = m[5] + 1, time.time() + 60
                q.place(m)
        if 'put' in d:
            self.send_message_batch({'QueueUrl': d['put'][0], 'Entries': [{'Id': '0', 'MessageBody': d['put'][1]}]})
        self.keys.update(d.get('keys', {}))
        self.clock, self.life = d.get('clock', self.clock), d.get('life', self.life)
        return {'counted': self.counted, 'queues': sorted(self.queues), 'messages': {q.name: [m[1:3] for m in q.messages.values()]
                                                                                    for q in self.queues.values()}}

    def give_key(self, headers):
        self.counted['keys'] += 1
        if headers.get('authorization') != 'Bearer t':
            return 401, {}
        id, secret, token, end = f'TEMP{self.counted["keys"]}', uuid.uuid4().hex, uuid.uuid4().hex, time.time() + self.life
        self.keys[id] = [secret, token, end]
        return 200, {'AccessKeyId': id, 'SecretAccessKey': secret, 'Token': token, 'RoleArn': 'r',
                     'Expiration': datetime.datetime.fromtimestamp(end, datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')}

    async def answer(self, method, path, headers, body, gone):
        if path == '/_control':
            return 200, self.control(json.loads(body or b'{}'))
        if path == '/keys':
            return self.give_key(headers)
        if method != 'POST' or path != '/':
            return 404, {}
        try:
            return 200, await self.act(headers, body, gone)
        except Refused as r:
            return r.status, {'__type': f'com.amazonaws.sqs#{r.code}', 'message': r.why}

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b'\r\n\r\n')).decode().split('\r\n')
                method, path, _ = head[0].split(' ')
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(':') for line in head[1:-2])}
                body = await reader.readexactly(int(headers.get('content-length', 0)))
                status, out = await self.answer(method, path, headers, body, reader.at_eof)
                out = json.dumps(out, ensure_ascii=False).encode('utf-8', 'surrogatepass')
                date = datetime.datetime.fromtimestamp(time.time() + self.clock, datetime.timezone.utc)
                writer.write(b'HTTP/1.1 %d x\r\nContent-Type: application/x-amz-json-1.0\r\nDate: %s\r\nContent-Length: %d\r\n\r\n%s' %
                             (status, date.strftime('%a, %d %b %Y %H:%M:%S GMT').encode(), len(out), out))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def run(o):
    s = Server(o.file)
    tls = None
    if o.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*o.tls)
    s.base = f'http{"s" if tls else ""}://{o.host}:{o.port}'
    server = await asyncio.start_server(s.serve, o.host, o.port, ssl=tls, limit=64 << 10)
    print(f'listening on {s.base}', flush=True)
    await server.serve_forever()


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--port', type=int, required=True)
    p.add_argument('--host', default='127.0.0.1')
    p.add_argument('--file')
    p.add_argument('--tls', nargs=2)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(run(p.parse_args()))


if __name__ == '__main__':
    main()
