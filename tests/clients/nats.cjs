// SPDX-License-Identifier: MIT
// The npm client against Weir: node nats.cjs SERVER,… basics | stay
// `basics` checks and prints "basics ok"; `stay` prints what becomes of its connection and the messages on "stay", and ends
// with "drained" after the message "end".
const { connect, headers, StringCodec, Events, ErrorCode } = require('nats')
const assert = require('assert')
const [servers, what] = process.argv.slice(2)
const text = StringCodec()

async function take(sub, n) {
  const got = []
  for await (const m of sub) {
    got.push(m)
    if (got.length === n) break
  }
  return got
}

async function basics(nc) {
  const other = await connect({ servers: servers.split(',') })
  // Publish and subscribe, with wildcards and headers.
  const sub = nc.subscribe('orders.*', { max: 2 })
  await nc.flush()
  const h = headers()
  h.append('Kind', 'one')
  h.append('Kind', 'two')
  other.publish('orders.new', text.encode('hello'), { headers: h })
  other.publish('orders.old', text.encode('bye'))
  const got = await take(sub, 2)
  assert.deepEqual(got.map(m => [m.subject, text.decode(m.data)]), [['orders.new', 'hello'], ['orders.old', 'bye']])
  assert.deepEqual(got[0].headers.values('Kind'), ['one', 'two'])
  // A queue group: each message once.
  const seen = []
  for (const c of [nc, other]) c.subscribe('work', { queue: 'crew', callback: (e, m) => seen.push(text.decode(m.data)) })
  await nc.flush()
  await other.flush()
  for (let i = 0; i < 100; i++) nc.publish('work', text.encode(`${i}`))
  await nc.flush()
  await other.flush()
  assert.deepEqual(seen.map(Number).sort((a, b) => a - b), [...Array(100).keys()])
  // Request and reply, one at a time and many at once; nobody there; too late.
  other.subscribe('square', { callback: (e, m) => m.respond(text.encode(`${Number(text.decode(m.data)) ** 2}`)) })
  other.subscribe('silent', { callback: () => {} })
  await other.flush()
  assert.equal(text.decode((await nc.request('square', text.encode('7'))).data), '49')
  const many = await Promise.all([...Array(200).keys()].map(i => nc.request('square', text.encode(`${i}`))))
  assert.deepEqual(many.map(m => Number(text.decode(m.data))), [...Array(200).keys()].map(i => i * i))
  await assert.rejects(nc.request('nobody'), { code: ErrorCode.NoResponders })
  await assert.rejects(nc.request('silent', undefined, { timeout: 50 }), { code: ErrorCode.Timeout })
  // A large message, and one that is too large.
  const big = nc.subscribe('big', { max: 1 })
  await nc.flush()
  nc.publish('big', new Uint8Array(nc.info.max_payload))
  assert.equal((await take(big, 1))[0].data.length, nc.info.max_payload)
  assert.throws(() => nc.publish('big', new Uint8Array(nc.info.max_payload + 1)))
  // Drain: what has arrived is handled before the end.
  let handled = 0
  other.subscribe('last', { callback: () => handled++ })
  await other.flush()
  for (let i = 0; i < 1000; i++) nc.publish('last')
  await nc.flush()
  await other.drain()
  assert.equal(handled, 1000)
  await nc.close()
  console.log('basics ok')
}

async function stay(nc) {
  ;(async () => {
    for await (const s of nc.status()) {
      if (s.type === Events.Disconnect) console.log('disconnected')
      if (s.type === Events.Reconnect) console.log(`reconnected ${nc.getServer()}`)
      if (s.type === Events.LDM) console.log('told to leave')
    }
  })()
  const sub = nc.subscribe('stay')
  await nc.flush()
  console.log(`connected ${nc.getServer()}`)
  for await (const m of sub) {
    if (text.decode(m.data) === 'end') break
    console.log(`got ${text.decode(m.data)}`)
  }
  await nc.drain()
  console.log('drained')
}

connect({ servers: servers.split(','), noRandomize: true, reconnectTimeWait: 50, maxReconnectAttempts: -1 })
  .then(what === 'basics' ? basics : stay)
  .then(() => process.exit(0), e => { console.error(e); process.exit(1) })
