// SPDX-License-Identifier: MIT
// gRPC's interoperability service and client by the official library of Node.js:
//
//	node peer.js server                     prints its address, serves until it is killed
//	node peer.js client ADDRESS CASE...     as interop-client
'use strict';
const assert = require('assert');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const definition = loader.loadSync(path.join(__dirname, 'interop.proto'), { keepCase: true, defaults: true });
const { TestService, UnimplementedService } = grpc.loadPackageDefinition(definition).grpc.testing;
const INITIAL = 'x-grpc-test-echo-initial', TRAILING = 'x-grpc-test-echo-trailing-bin';
const payload = (n) => ({ body: Buffer.alloc(n) });

// ---- server ----

function echo(call) {
  const trailing = new grpc.Metadata();
  const initial = call.metadata.get(INITIAL), last = call.metadata.get(TRAILING);
  if (initial.length) {
    const m = new grpc.Metadata();
    m.set(INITIAL, initial[0]);
    call.sendMetadata(m);
  }
  if (last.length)
    trailing.set(TRAILING, last[0]);
  return trailing;
}

function unaryCall(call, done) {
  const trailing = echo(call), status = call.request.response_status;
  if (status && status.code)
    done({ code: status.code, details: status.message, metadata: trailing });
  else
    done(null, { payload: payload(call.request.response_size) }, trailing);
}

// Answers one request after the other.
async function output(call, request) {
  for (const p of request.response_parameters) {
    if (p.interval_us)
      await new Promise((go) => setTimeout(go, p.interval_us / 1000));
    call.write({ payload: payload(p.size) });
  }
}

function streamingOutput(call) {
  output(call, call.request).then(() => call.end());
}

function streamingInput(call, done) {
  let sum = 0;
  call.on('data', (m) => { sum += m.payload.body.length; });
  call.on('end', () => done(null, { aggregated_payload_size: sum }));
}

function fullDuplex(call) {
  const trailing = echo(call);
  let last = Promise.resolve(), failed = null;
  call.on('data', (m) => {
    if (m.response_status && m.response_status.code)
      failed = m.response_status;
    else
      last = last.then(() => output(call, m));
  });
  call.on('end', () => last.then(() => {
    if (failed)
      call.emit('error', { code: failed.code, details: failed.message, metadata: trailing });
    else
      call.end(trailing);
  }));
  call.on('error', () => {});
}

function server() {
  const s = new grpc.Server();
  s.addService(TestService.service, {
    EmptyCall: (call, done) => done(null, {}),
    UnaryCall: unaryCall,
    StreamingOutputCall: streamingOutput,
    StreamingInputCall: streamingInput,
    FullDuplexCall: fullDuplex,
  });
  s.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (e, port) => {
    assert.ifError(e);
    console.log(`127.0.0.1:${port}`);
  });
}

// ---- client ----

// A call with one answer: [answer, status].
function single(start) {
  return new Promise((done) => {
    let answer, error = null, initial = null;
    const call = start((e, r) => { error = e; answer = r; });
    call.on('metadata', (m) => { initial = m; });
    call.on('status', (status) => setImmediate(() => done({ answer, error, status, initial })));
  });
}

// A stream's end.
function ended(call) {
  return new Promise((done) => {
    const r = { sizes: [], initial: null };
    call.on('metadata', (m) => { r.initial = m; });
    call.on('data', (m) => r.sizes.push(m.payload.body.length));
    call.on('error', () => {});
    call.on('status', (status) => done({ ...r, status }));
  });
}

const SIZES = [31415, 9, 2653, 58979];
const IN_SIZES = [27182, 8, 1828, 45904];
const ask = (size, n) => ({ response_parameters: [{ size }], payload: n ? payload(n) : null });

async function large(c) {
  const r = await single((f) => c.UnaryCall({ response_size: 314159, payload: payload(271828) }, f));
  assert.ifError(r.error);
  assert.ok(r.answer.payload.body.equals(Buffer.alloc(314159)));
}

async function pingPong(c, sizes, metadata) {
  const call = c.FullDuplexCall(metadata || new grpc.Metadata());
  let i = 0;
  call.on('data', (m) => {
    assert.strictEqual(m.payload.body.length, sizes[i++]);
    if (i < sizes.length)
      call.write(ask(sizes[i], IN_SIZES[i]));
    else
      call.end();
  });
  const end = ended(call);
  call.write(ask(sizes[0], IN_SIZES[0]));
  const r = await end;
  assert.strictEqual(r.status.code, 0);
  assert.strictEqual(i, sizes.length);
  return r;
}

async function echoed(c, message) {
  const r = await single((f) => c.UnaryCall({ response_status: { code: 2, message } }, f));
  assert.strictEqual(r.status.code, 2);
  assert.strictEqual(r.status.details, message);
}

const cases = {
  empty_unary: async (c) => assert.ifError((await single((f) => c.EmptyCall({}, f))).error),
  large_unary: large,
  client_streaming: async (c) => {
    const r = await single((f) => {
      const call = c.StreamingInputCall(f);
      IN_SIZES.forEach((n) => call.write({ payload: payload(n) }));
      call.end();
      return call;
    });
    assert.ifError(r.error);
    assert.strictEqual(r.answer.aggregated_payload_size, 74922);
  },
  server_streaming: async (c) => {
    const r = await ended(c.StreamingOutputCall({ response_parameters: SIZES.map((size) => ({ size })) }));
    assert.strictEqual(r.status.code, 0);
    assert.deepStrictEqual(r.sizes, SIZES);
  },
  ping_pong: (c) => pingPong(c, SIZES),
  empty_stream: async (c) => {
    const call = c.FullDuplexCall(), end = ended(call);
    call.end();
    const r = await end;
    assert.strictEqual(r.status.code, 0);
    assert.deepStrictEqual(r.sizes, []);
  },
  custom_metadata: async (c) => {
    const metadata = new grpc.Metadata();
    metadata.set(INITIAL, 'test_initial_metadata_value');
    metadata.set(TRAILING, Buffer.from([0xab, 0xab, 0xab]));
    const judge = (r) => {
      assert.deepStrictEqual(r.initial.get(INITIAL), ['test_initial_metadata_value']);
      assert.ok(r.status.metadata.get(TRAILING)[0].equals(Buffer.from([0xab, 0xab, 0xab])));
    };
    judge(await single((f) => c.UnaryCall({ response_size: 1 }, metadata, f)));
    judge(await pingPong(c, [9], metadata));
  },
  status_code_and_message: async (c) => {
    await echoed(c, 'test status message');
    const call = c.FullDuplexCall(), end = ended(call);
    call.write({ response_status: { code: 2, message: 'test status message' } });
    call.end();
    const r = await end;
    assert.strictEqual(r.status.code, 2);
    assert.strictEqual(r.status.details, 'test status message');
  },
  special_status_message: (c) => echoed(c, '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n'),
  unimplemented_method: async (c) =>
    assert.strictEqual((await single((f) => c.UnimplementedCall({}, f))).status.code, 12),
  unimplemented_service: async (c, address) => {
    const other = new UnimplementedService(address, grpc.credentials.createInsecure());
    assert.strictEqual((await single((f) => other.UnimplementedCall({}, f))).status.code, 12);
    other.close();
  },
  cancel_after_begin: async (c) => {
    const r = await single((f) => {
      const call = c.StreamingInputCall(f);
      setImmediate(() => call.cancel());
      return call;
    });
    assert.strictEqual(r.status.code, 1);
  },
  cancel_after_first_response: async (c) => {
    const call = c.FullDuplexCall();
    call.on('data', () => call.cancel());
    const end = ended(call);
    call.write(ask(31415, 27182));
    assert.strictEqual((await end).status.code, 1);
  },
  timeout_on_sleeping_server: async (c) => {
    const call = c.FullDuplexCall(new grpc.Metadata(), { deadline: Date.now() + 1 }), end = ended(call);
    call.write(ask(31415, 27182));
    assert.strictEqual((await end).status.code, 4);
  },
  rpc_soak: async (c) => {
    for (let i = 0; i < 100; i++)
      await large(c);
  },
  channel_soak: async (c, address) => {
    for (let i = 0; i < 25; i++) {
      const own = new TestService(address, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
      await large(own);
      own.close();
    }
  },
};

async function client(address, names) {
  const c = new TestService(address, grpc.credentials.createInsecure());
  let passed = 0, failed = 0;
  for (const name of names) {
    try {
      await cases[name](c, address);
      console.log('ok', name);
      passed++;
    } catch (e) {
      console.log(`not ok ${name}: ${String(e.message).replace(/\n/g, ' ')}`);
      failed++;
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  c.close();
  process.exitCode = failed ? 1 : 0;
}

if (process.argv[2] === 'server')
  server();
else
  client(process.argv[3], process.argv.slice(4));
