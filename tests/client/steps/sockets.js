'use strict'

// Acceptance point 13: many streams over several connections, and connections that come and go.

const crypto = require('crypto')
const { assert, sleep, until } = require('../report')
const { walletStream } = require('../hub')
const { openProxy } = require('../proxy')
const { openSession } = require('../stock')
const { send } = require('./payments')

const LIMIT = 100

const strangerStreams = (token, count) =>
  Array.from({ length: count }, () => walletStream(token, crypto.randomBytes(20).toString('hex')))

async function subscribe(socket, streams) {
  const answer = await socket.ask('subscribe', { streams })
  assert.deepStrictEqual(answer.data.data.streams.slice().sort(), streams.slice().sort())
}

async function received(socket, stream, row) {
  const events = await until(`transfer ${row.id} reported`, () => {
    const found = socket.events(stream, 'TRANSFER_CONFIRMATION').filter((event) => event.id === row.id)
    return found.length > 0 && found
  })
  assert.strictEqual(events.length, 1, 'reported once')
  assert.strictEqual(events[0].amount, row.amount)
}

const silent = (socket, stream, row) =>
  assert.ok(!socket.events(stream, 'TRANSFER_CONFIRMATION').some((event) => event.id === row.id), 'stays silent')

async function manyStreams(context) {
  const { alice, bob, config, hub } = context
  const token = config.contract
  const stream = walletStream(token, bob.address)
  const pay = () => send(context, alice, bob, token, 1n)
  const sockets = []
  for (let i = 0; i < 3; i++) {
    const socket = await hub.connect()
    await subscribe(socket, [...strangerStreams(token, 70), stream])
    sockets.push(socket)
  }
  const [first, second, third] = sockets
  await first.errorAfter('subscribe', { streams: strangerStreams(token, LIMIT) })
  await subscribe(second, [stream])
  assert.strictEqual((await third.ask('ping', {})).data.data, 'pong')
  await third.ask('unsubscribe', { streams: strangerStreams(token, 1) })
  await third.errorAfter('subscribe', { streams: ['nonsense'] })

  const toAll = await pay()
  for (const socket of sockets) await received(socket, stream, toAll)
  await first.close()
  await second.ask('unsubscribe', { streams: [stream] })
  const toThird = await pay()
  await received(third, stream, toThird)
  silent(second, stream, toThird)

  const again = await hub.connect()
  await subscribe(again, [stream])
  const toTwo = await pay()
  await received(again, stream, toTwo)
  await received(third, stream, toTwo)
  for (const socket of [second, third, again]) await socket.close()
  return { connections: 4, streams: 3 * 71, balances: await context.book.settle(context.eon) }
}

/** The client's own reconnection after a cut line; it subscribes again only when its key is added again. */
async function cutLine(context) {
  const { alice, bob, book, config } = context
  const proxy = await openProxy(config.hubUrl)
  try {
    const remote = await openSession(context, bob.account, proxy.url)
    const balance = async () => BigInt((await remote.nocust.getBalance(bob.address, config.contract)).toFixed(0))
    const owned = () => book.find(bob.address, config.contract).expected
    assert.strictEqual(await balance(), owned())
    proxy.cut()
    await until('the line is down', () => proxy.connections() === 0, 10, 20)
    await until('the client is connected again', () => proxy.connections() > 0, 10, 50)
    await remote.nocust.addPrivateKey(bob.account.privateKey)
    await sleep(500)
    await send(context, alice, bob, config.contract, 5n)
    await until('the payment is known after the reconnection', async () => (await balance()) === owned())
    await remote.nocust.shutdown()
  } finally {
    proxy.close()
  }
  return book.settle(context.eon)
}

module.exports = { cutLine, manyStreams }
