'use strict'

// Acceptance points 3, 4, 5 and 12: deposits, transfers, the lists of transfers, large amounts.

const { assert, keys, refused, until } = require('../report')
const { GAS_PRICE } = require('../chain')

const WALLET_REF = ['address', 'token', 'trail_identifier']
const ACTIVE_STATE = [
  'wallet_signature', 'operator_signature', 'updated_spendings', 'updated_gains',
  'tx_set_hash', 'tx_set_proof', 'tx_set_index',
]

/** Deposits and waits for the event; checks both chains to the unit. */
async function depositOne(context, session, token, amount) {
  const { BigNumber, book, chain, config, hub } = context
  const isEther = token === config.contract
  const etherBefore = await chain.ether(session.address)
  const tokensBefore = await chain.tokens(session.address)
  const paid = []
  if (!isEther) {
    await refused('INSUFFICIENT_TRANSFER_ALLOWANCE', depositCall(session, token, amount, BigNumber))
    const approval = { address: session.address, token, gasPrice: GAS_PRICE }
    paid.push(await session.nocust.approveDeposits(approval))
  }
  const txHash = await depositCall(session, token, amount, BigNumber)
  paid.push(txHash)
  book.add(session.address, token, amount)
  let gas = 0n
  for (const hash of paid) gas += await chain.gasPaid(hash)
  assert.strictEqual(await chain.ether(session.address), etherBefore - gas - (isEther ? amount : 0n))
  assert.strictEqual(await chain.tokens(session.address), tokensBefore - (isEther ? 0n : amount))
  const row = await until('deposit is in the wallet state', async () => {
    const state = await hub.walletState(context.eon, token, session.address)
    return state.deposits.find((deposit) => '0x' + deposit.txid === txHash)
  }, 60)
  keys('deposit', row, ['txid', 'block', 'eon_number', 'amount', 'time'])
  assert.strictEqual(row.amount, amount.toString())
  assert.strictEqual(row.eon_number, context.eon)
  return txHash
}

function depositCall(session, token, amount, BigNumber) {
  return session.nocust.deposit({
    address: session.address,
    token,
    amount: new BigNumber(amount.toString()),
    gasPrice: GAS_PRICE,
  })
}

async function deposits(context) {
  const { alice, BigNumber, book, chain, config } = context
  const stranger = chain.account()
  await alice.nocust.addPrivateKey(stranger.privateKey)
  const unregistered = { address: stranger.address, amount: new BigNumber(0), gasPrice: GAS_PRICE }
  await refused('WALLET_UNREGISTERED', alice.nocust.deposit(unregistered))
  await refused(
    'INSUFFICIENT_PARENT_CHAIN_BALANCE',
    depositCall(alice, config.contract, 10n ** 24n, BigNumber),
  )
  await depositOne(context, alice, config.contract, 1500000000000000001n)
  await depositOne(context, alice, config.token, context.largeDeposit)
  return book.settle(context.eon)
}

/** Sends a transfer and checks the answer's signatures with the client's own hashing. */
async function send(context, from, to, token, amount, nonce) {
  const { BigNumber, book, chain, hub } = context
  const config = { from: from.address, to: to.address, token, amount: new BigNumber(amount.toString()) }
  if (nonce) config.nonce = nonce
  const transfer = await from.nocust.transfer(config)
  assert.ok(transfer, 'the transfer is in the local state')
  assert.strictEqual(transfer.amount.toFixed(0), amount.toString())
  book.move(from.address, to.address, token, amount)
  const row = await hub.get(`audit/transactions/${transfer.id}/`)
  keys('wallet reference', row.wallet, WALLET_REF)
  keys('wallet reference', row.recipient, WALLET_REF)
  keys('active state', row.sender_active_state, ACTIVE_STATE)
  assert.strictEqual(row.amount, amount.toString())
  assert.strictEqual(row.amount_swapped, null)
  assert.strictEqual(row.recipient.address, to.address)
  assert.deepStrictEqual(
    [row.complete, row.processed, row.appended, row.passive, row.swap, row.voided, row.cancelled],
    [true, true, true, true, false, false, false],
  )
  const state = row.sender_active_state
  const digest = from.activeStateHash({
    address: from.address,
    token,
    trailIdentifier: row.wallet.trail_identifier,
    eon: row.eon_number,
    transactionSetHash: '0x' + state.tx_set_hash,
    spent: new BigNumber(state.updated_spendings),
    gained: new BigNumber(state.updated_gains),
  })
  assert.ok(from.validateSignature(digest, state.wallet_signature, from.address), 'signed by the sender')
  assert.ok(from.validateSignature(digest, state.operator_signature, chain.operator), 'signed by the operator')
  return { ...row, sentAs: transfer }
}

async function transfers(context) {
  const { alice, bob, book, chain, config, BigNumber } = context
  const received = []
  const stop = bob.nocust.subscribe({
    address: bob.address,
    token: config.contract,
    event: 'TRANSFER_CONFIRMATION',
    callback: (transfer) => received.push(transfer),
  })
  const ether = config.contract
  const nonce = new BigNumber(4242424242)
  const first = await send(context, alice, bob, ether, 300000000000000007n, nonce)
  await book.settle(context.eon)
  const second = await send(context, alice, bob, ether, 200000000000000011n)
  await book.settle(context.eon)
  const back = await send(context, bob, alice, ether, 100000000000000013n)
  await book.settle(context.eon)
  assert.deepStrictEqual([first.position, second.position, back.position], ['0', first.amount, '0'])

  const attempt = (to, amount, more) =>
    alice.nocust.transfer({ from: alice.address, to, token: ether, amount: new BigNumber(amount), ...more })
  await refused('unique', attempt(bob.address, '1', { nonce }))
  await refused('NOT_FOUND', attempt(chain.account().address, '1'))
  await refused('TRANSFER_TO_SELF', attempt(alice.address, '1'))
  await refused('INSUFFICIENT_COMMIT_CHAIN_BALANCE', attempt(bob.address, '5e18'))

  // Everything that is left, down to zero, and the whole of it back.
  const rest = book.find(bob.address, ether).expected
  await send(context, bob, alice, ether, rest)
  await book.settle(context.eon)
  await send(context, alice, bob, ether, rest)
  const balances = await book.settle(context.eon)
  await until('three payments reported to the recipient', () => received.length === 3)
  stop()
  assert.deepStrictEqual(
    received.map((transfer) => transfer.amount.toFixed(0)),
    [first.amount, second.amount, rest.toString()],
  )
  context.oldTransfers = [first, second, back]
  return { ids: [first.id, second.id, back.id], balances }
}

async function largeAmounts(context) {
  const { alice, bob, book, config } = context
  const big = await send(context, alice, bob, config.token, 1500n * 10n ** 18n + 1n)
  await book.settle(context.eon)
  const back = await send(context, bob, alice, config.token, 10n ** 21n)
  context.oldTransfers.push(big, back)
  return book.settle(context.eon)
}

async function lists(context) {
  const { alice, config, eon, hub, oldTransfers } = context
  const [first, second, back] = oldTransfers
  const one = await alice.nocust.getTransfer(first.id)
  assert.strictEqual(one.amount.toFixed(0), first.amount)
  assert.strictEqual(one.swap, false)
  assert.strictEqual(one.sender.address, alice.address)
  await refused('NOT_FOUND', alice.nocust.getTransfer(2 ** 31 - 5))

  const search = `${alice.address.slice(2)} ${config.contract.slice(2)}`
  const mine = await alice.nocust.getTransfers({ search, eon, passive: true, ordering: 'id', limit: 50 })
  const ids = mine.map((transfer) => transfer.id)
  assert.ok([first, second, back].every((row) => ids.includes(row.id)), `listed ${ids}`)
  assert.deepStrictEqual(ids, ids.slice().sort((a, b) => a - b), 'in the order that was asked for')
  assert.ok(mine.every((transfer) => transfer.swap === false && transfer.amountSwapped === null))
  assert.ok(mine.every((transfer) => transfer.eon === eon))

  const byId = await alice.nocust.getTransfers({ txId: first.tx_id })
  assert.deepStrictEqual(byId.map((transfer) => transfer.id), [first.id])
  assert.deepStrictEqual(await alice.nocust.getTransfers({ search, passive: false }), [])
  assert.deepStrictEqual(await alice.nocust.getTransfers({ search, eon: eon + 1 }), [])
  const page = await hub.get(`audit/transactions/?search=${encodeURIComponent(search)}&limit=1&ordering=-id`)
  assert.strictEqual(page.results.length, 1)
  assert.ok(page.count >= 3 && page.next && page.previous === null)
  return { listed: ids.length }
}

module.exports = { deposits, largeAmounts, lists, send, transfers }
