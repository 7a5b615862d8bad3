'use strict'

// Acceptance points 8 and 9: orders placed, matched, finalised and cancelled by the client, within an eon and over
// several. Prices are quote tokens for one of the base token (Ether); the client counts in 10^18ths.

const { assert, keys, refused, until } = require('../report')
const { GAS_PRICE } = require('../chain')
const { openSession } = require('../stock')
const { raw } = require('../hub')

const UNIT = 10n ** 18n
const ORDER_EONS = 5
const SWAP_RECEIPT = [
  'id', 'wallet', 'amount', 'time', 'eon_number', 'complete', 'sender_active_state', 'recipient',
  'recipient_active_state', 'recipient_fulfillment_active_state', 'nonce', 'amount_swapped', 'tx_id',
  'matched_amounts', 'sell_order',
]

/** Smallest units of an amount such as '0.25'. */
function units(text) {
  const [whole, part = ''] = text.split('.')
  return BigInt(whole) * UNIT + BigInt(part.padEnd(18, '0'))
}

const tokensOf = ({ config }) => [config.contract, config.token]

function pairStream(sold, bought) {
  return `tokenpair/${raw(sold)}/${raw(bought)}`
}

// ---- getting ready ----------------------------------------------------------------------------------------------

/** Two owners with wallets in both tokens: the seller has Ether, the buyer tokens. */
async function register(context) {
  const { accounts, book, config, chain } = context
  context.eon = (await chain.now()).eon
  for (const name of ['seller', 'buyer']) {
    context[name] = await openSession(context, accounts[name])
    for (const token of tokensOf(context)) {
      await context[name].nocust.registerWallet(context[name].address, token)
      book.track(context[name], name, token)
    }
  }
  context.witness = { address: context.seller.address, token: config.contract, registrationEon: context.eon }
  context.deposited = { [config.contract]: units('2'), [config.token]: units('2000') }
  await deposit(context, context.seller, config.contract)
  await deposit(context, context.buyer, config.token)
  return book.settle(context.eon)
}

async function deposit({ BigNumber, book, config, deposited }, session, token) {
  if (token !== config.contract) {
    await session.nocust.approveDeposits({ address: session.address, token, gasPrice: GAS_PRICE })
  }
  const amount = new BigNumber(deposited[token].toString())
  await session.nocust.deposit({ address: session.address, token, amount, gasPrice: GAS_PRICE })
  book.add(session.address, token, deposited[token])
}

/** The wallets that the client derives for trading, registered in bulk; the market's streams are heard from now on. */
async function setUpTrading(context) {
  const { config, hub, seller, buyer } = context
  await refused('NO_TRADING_SETUP', addOrder(context, seller, 'SELL', '0.1', '1000'))
  for (const session of [seller, buyer]) {
    await session.nocust.setupTrading(session.address, config.contract, config.token)
    const wallets = session.tradingWallets(session.address)
    assert.strictEqual(new Set(wallets).size, 5, 'five wallets')
    for (const wallet of wallets) {
      for (const token of tokensOf(context)) {
        const registration = await hub.get(`audit/${token}/${wallet}/whois`)
        assert.ok(registration.operator_authorization, 'registered')
      }
    }
  }
  context.socket = await hub.connect()
  const streams = [pairStream(config.contract, config.token), pairStream(config.token, config.contract)]
  const answer = await context.socket.ask('subscribe', { streams })
  assert.deepStrictEqual(answer.data.data.streams, streams)
  return streams
}

// ---- what the client does ---------------------------------------------------------------------------------------

function addOrder({ BigNumber, config }, session, orderType, amount, price) {
  return session.nocust.addOrder({
    address: session.address,
    baseTokenAddress: config.contract,
    quoteTokenAddress: config.token,
    amount: new BigNumber(amount),
    price: new BigNumber(price),
    orderType,
  })
}

/** Places an order; what it gives leaves the owner's main wallet. */
async function place(context, session, orderType, amount, price) {
  const { book, config, hub, socket } = context
  const [given, wanted] = orderType === 'SELL' ? [config.contract, config.token] : [config.token, config.contract]
  const base = units(amount)
  const quote = (base * units(price)) / UNIT
  const [gives, wants] = orderType === 'SELL' ? [base, quote] : [quote, base]
  const placed = await addOrder(context, session, orderType, amount, price)
  assert.ok(placed, 'the order is in the local state')
  book.add(session.address, given, -gives)
  const row = await hub.get(`audit/transactions/${placed.id}/`)
  assert.deepStrictEqual([row.amount, row.amount_swapped], [gives.toString(), wants.toString()])
  assert.deepStrictEqual([row.wallet.token, row.recipient.token], [given, wanted])
  assert.strictEqual(row.eon_number, context.eon)
  const rows = await rowsOf(context, placed.txId)
  assert.deepStrictEqual(rows.map((each) => each.eon_number), eonsFrom(context.eon))
  const told = await until('the pair is told of the order', () =>
    socket.events(pairStream(given, wanted), 'INCOMING_SWAP').find((event) => event.id === placed.id),
  )
  keys('INCOMING_SWAP', told, SWAP_RECEIPT)
  return { session, txId: placed.txId, id: placed.id, given, wanted, gives, wants }
}

const eonsFrom = (eon) => Array.from({ length: ORDER_EONS }, (_, index) => eon + index)

async function rowsOf({ hub }, txId) {
  const { count, results } = await hub.get(`audit/transactions/?tx_id=${txId}`)
  assert.strictEqual(results.length, count, 'all rows of an order on one page')
  return results.sort((one, other) => one.eon_number - other.eon_number)
}

/** The order's row of the eon that we are in, in full. */
async function currentRow(context, order) {
  const found = (await rowsOf(context, order.txId)).find((row) => row.eon_number === context.eon)
  return context.hub.get(`audit/transactions/${found.id}/`)
}

/** Waits until the order gave and got that much in total. */
function matched(context, order, out, into) {
  return until(`the order has given ${out} for ${into}`, async () => {
    const row = await currentRow(context, order)
    const { matched_out: gave, matched_in: got } = row.matched_amounts
    if (gave === out.toString() && got === into.toString()) return row
    throw new Error(`given ${gave} for ${got}`)
  })
}

/** Filled orders finalise themselves and bring home what they got: [order, amount]. Gives their rows. */
async function harvested(context, ...orders) {
  const rows = []
  for (const [order, got] of orders) rows.push(await finalised(context, order, got))
  await context.book.settle(context.eon)
  return rows
}

async function finalised(context, order, got) {
  const row = await until(`order ${order.id} is finalised by the client`, async () => {
    const found = await currentRow(context, order)
    return found.complete && found.processed && found.recipient_finalization_active_state ? found : null
  })
  context.book.add(order.session.address, order.wanted, got)
  const later = (await rowsOf(context, order.txId)).filter((each) => each.eon_number > context.eon)
  assert.ok(later.every((each) => each.voided), 'nothing of it is left in later eons')
  return row
}

/** The owner's list of orders as the client shows it. */
async function mine({ config }, session, order) {
  const orders = await session.nocust.getMyOrders(session.address, config.contract, config.token)
  return orders.find((each) => each.txId === order.txId)
}

/** Compares the order book of the client: [amount, price] of base tokens. */
async function bookIs(context, sells, buys) {
  const { BigNumber, config, seller } = context
  const shown = (orders) => orders.map(({ amount, price }) => [amount.toFixed(), price.toFixed()])
  const wanted = (orders) => orders.map((pair) => pair.map((text) => new BigNumber(text).toFixed()))
  await until('the order book shows what is on offer', async () => {
    const book = await seller.nocust.getOrderBook(config.contract, config.token)
    const seen = [shown(book.sellOrders), shown(book.buyOrders)]
    assert.deepStrictEqual(seen, [wanted(sells), wanted(buys)])
    return true
  })
}

// ---- within an eon ----------------------------------------------------------------------------------------------

/** A full sale meets a purchase of half of it; the purchase comes home, the sale stays half filled. */
async function halfFilled(context) {
  const { buyer, config, seller, socket } = context
  const sale = await place(context, seller, 'SELL', '0.4', '1000')
  await bookIs(context, [['0.4', '1000']], [])
  const purchase = await place(context, buyer, 'BUY', '0.2', '1000')
  await matched(context, sale, units('0.2'), units('200'))
  const [row] = await harvested(context, [purchase, units('0.2')])
  assert.ok(row.recipient_fulfillment_active_state.operator_signature, 'the fulfilled state is countersigned')
  await bookIs(context, [['0.2', '1000']], [])
  for (const [order, complete] of [[sale, false], [purchase, true]]) {
    const told = socket.events(pairStream(order.given, order.wanted), 'MATCHED_SWAP')
    assert.ok(told.some((event) => event.id === order.id && event.complete === complete), 'the pair was told')
  }
  const pending = await mine(context, seller, sale)
  assert.deepStrictEqual([pending.status, pending.expiry, pending.type], ['pending', ORDER_EONS, 'Sell'])
  const done = await mine(context, buyer, purchase)
  assert.deepStrictEqual([done.status, done.type], ['complete', 'Buy'])
  const now = Math.floor(Date.now() / 1000)
  const trades = await context.hub.get(
    `audit/${config.contract}/${config.token}/matches?start_time=${now - 600}&end_time=${now + 600}`,
  )
  assert.deepStrictEqual(trades.map(({ price, volume }) => [price, volume]), [['1000.0', units('0.2').toString()]])
  context.sale = sale
  return { sale: sale.id, purchase: purchase.id }
}

async function cancelRest(context) {
  const { sale, seller } = context
  await cancel(context, seller, sale, units('0.2'), units('200'))
  await bookIs(context, [], [])
  await refused('CAN_NOT_CANCEL_SWAP', seller.nocust.cancelOrder(seller.address, sale.id))
}

/** Cancels by the client: the rest and what came in are brought home. */
async function cancel(context, session, order, out, into) {
  const { book, socket } = context
  const row = await currentRow(context, order)
  await session.nocust.cancelOrder(session.address, row.id)
  book.add(session.address, order.given, order.gives - out)
  book.add(session.address, order.wanted, into)
  await book.settle(context.eon)
  const after = await currentRow(context, order)
  assert.deepStrictEqual([after.processed, after.cancelled, after.complete], [true, true, false])
  assert.strictEqual((await mine(context, session, order)).status, 'cancelled')
  const cancelled = () => socket.events(pairStream(order.given, order.wanted), 'CANCELLED_SWAP')
  await until('the pair is told of the cancellation', () => cancelled().find((event) => event.id === row.id))
}

/** The seller asks for less than the buyer offers and gets what the buyer offers. */
async function betterPrice(context) {
  const { buyer, seller } = context
  const purchase = await place(context, buyer, 'BUY', '0.1', '1100')
  await bookIs(context, [], [['0.1', '1100']])
  const sale = await place(context, seller, 'SELL', '0.1', '900')
  assert.strictEqual(sale.wants, units('90'))
  await matched(context, sale, units('0.1'), units('110'))
  await harvested(context, [purchase, units('0.1')], [sale, units('110')])
}

// ---- over several eons ------------------------------------------------------------------------------------------

/** Goes to the next eon; every session switches by its events, every wallet can prove what it owns. */
async function nextEon(context) {
  const { book, chain, hub } = context
  context.eon = await chain.nextEon(hub, context.witness)
  book.newEon()
  for (const session of [context.seller, context.buyer]) {
    for (const wallet of [session.address, ...session.tradingWallets(session.address)]) {
      for (const token of tokensOf(context)) {
        await until(`${wallet} switched to eon ${context.eon}`, async () => {
          const { currentEon } = await session.nocust.getWallet(wallet, token)
          if (currentEon.eon === context.eon) return true
          throw new Error(`still in eon ${currentEon.eon}`)
        })
      }
    }
  }
  await book.settle(context.eon)
  return { eon: context.eon, allotted: await proofsHold(context) }
}

/** The contract accepts each wallet's proof, and together they allot all that was deposited. */
async function proofsHold({ chain, config, deposited, eon, hub, seller, buyer }) {
  const totals = { [config.contract]: 0n, [config.token]: 0n }
  for (const session of [seller, buyer]) {
    for (const wallet of [session.address, ...session.tradingWallets(session.address)]) {
      for (const token of Object.keys(totals)) {
        const { merkle_proof: proof } = await hub.walletState(eon, token, wallet)
        assert.ok(proof, `proof of ${wallet}`)
        assert.ok(await chain.provesAllotment(token, wallet, proof), `the contract accepts the proof of ${wallet}`)
        totals[token] += BigInt(proof.right) - BigInt(proof.left)
      }
    }
  }
  assert.deepStrictEqual(totals, deposited)
  return totals
}

/** The order's row of this eon as both of its wallets know it, countersigned and listed alone. */
async function carried(context, order, out, into) {
  const row = await matched(context, order, out, into)
  assert.deepStrictEqual([row.appended, row.processed, row.voided], [true, false, false])
  for (const name of ['sender_active_state', 'recipient_active_state']) {
    assert.ok(row[name].operator_signature, `${name} is countersigned`)
  }
  for (const [reference, token] of [[row.wallet, order.given], [row.recipient, order.wanted]]) {
    const state = await context.hub.walletState(context.eon, token, reference.address)
    assert.deepStrictEqual(state.transactions.map(({ id }) => id), [row.id])
  }
  assert.notStrictEqual(row.id, order.id)
  const shown = await mine(context, order.session, order)
  assert.deepStrictEqual([shown.status, shown.id], ['pending', row.id])
  return row
}

async function placeForLater(context) {
  context.sale = await place(context, context.seller, 'SELL', '0.4', '1000')
  return context.sale.id
}

/** Matched in the eon after its own, and finalised with that eon's row. */
async function matchedInNextEon(context) {
  const { buyer, sale } = context
  const row = await carried(context, sale, 0n, 0n)
  await bookIs(context, [['0.4', '1000']], [])
  const purchase = await place(context, buyer, 'BUY', '0.4', '1000')
  const [, done] = await harvested(context, [purchase, units('0.4')], [sale, units('400')])
  assert.strictEqual(done.id, row.id)
  return { placed: sale.id, finalised: done.id }
}

/** Sells a third of an order; in its first eon it is placed, too. Gives the purchase that bought it. */
async function trade(context) {
  const { buyer, seller } = context
  if (!context.long) {
    context.long = await place(context, seller, 'SELL', '0.3', '1000')
    context.sold = 0n
  } else {
    await carried(context, context.long, context.sold, 1000n * context.sold)
  }
  const purchase = await place(context, buyer, 'BUY', '0.1', '1000')
  context.sold += units('0.1')
  await matched(context, context.long, context.sold, 1000n * context.sold)
  return purchase
}

async function sellThird(context) {
  await harvested(context, [await trade(context), units('0.1')])
  return context.sold
}

/** The last third comes three eons after the first. */
async function completedAtLast(context) {
  const before = await currentRow(context, context.long)
  const purchase = await trade(context)
  const [, row] = await harvested(context, [purchase, units('0.1')], [context.long, units('300')])
  assert.strictEqual(row.id, before.id)
  assert.strictEqual(row.complete, true)
  delete context.long
  return row.id
}

async function idle(context) {
  await carried(context, context.long, context.sold, 1000n * context.sold)
  return nextEon(context)
}

/** A session that was opened later finds an order, matched in this eon and the one before, and cancels it. */
async function cancelledByFreshSession(context) {
  await sellThird(context)
  const { book, config, long, seller, sold } = context
  const fresh = await openSession(context, seller.account)
  await fresh.nocust.setupTrading(fresh.address, config.contract, config.token)
  await cancel(context, fresh, { ...long, session: fresh }, sold, 1000n * sold)
  book.useSession(fresh)
  context.seller = fresh
  return book.settle(context.eon)
}

module.exports = {
  betterPrice,
  cancelledByFreshSession,
  cancelRest,
  completedAtLast,
  halfFilled,
  idle,
  matchedInNextEon,
  nextEon,
  placeForLater,
  register,
  sellThird,
  setUpTrading,
}
