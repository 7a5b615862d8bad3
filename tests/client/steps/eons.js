'use strict'

// Acceptance points 10 and 11: the change of eon, delivery proofs, withdrawals and their confirmation.

const { assert, keys, refused, until } = require('../report')
const { GAS_PRICE } = require('../chain')
const { openSession } = require('../stock')
const { send } = require('./payments')

const PROOF = [
  'eon_number', 'left', 'right', 'allotment_chain', 'membership_chain', 'values', 'trail',
  'active_state_checksum', 'active_state', 'passive_checksum', 'passive_amount', 'passive_marker',
]
const REQUEST = ['txid', 'block', 'eon_number', 'amount', 'time', 'slashed']

/** Goes to the next eon and waits until every open session has switched by its CHECKPOINT_CREATED event. */
async function nextEon(context) {
  const { book, chain, hub } = context
  context.eon = await chain.nextEon(hub, context.witness)
  book.newEon()
  for (const { session, name, token } of book.entries) {
    await until(`${name} switched to eon ${context.eon}`, async () => {
      const wallet = await session.nocust.getWallet(session.address, token)
      if (wallet.currentEon.eon === context.eon) return true
      throw new Error(`still in eon ${wallet.currentEon.eon}`)
    })
  }
  const balances = await book.settle(context.eon)
  await proofsHold(context)
  return { eon: context.eon, balances }
}

/** Every tracked wallet's proof is accepted by the contract and allots exactly what the wallet owns. */
async function proofsHold({ book, chain, eon, hub }) {
  for (const { session, name, token, expected } of book.entries) {
    const { merkle_proof: proof } = await hub.walletState(eon, token, session.address)
    keys(`proof of ${name}`, proof, PROOF)
    assert.strictEqual(proof.eon_number, eon)
    assert.strictEqual(BigInt(proof.right) - BigInt(proof.left), expected, `allotment of ${name}`)
    assert.ok(await chain.provesAllotment(token, session.address, proof), `the contract accepts ${name}'s proof`)
  }
}

/** Delivery proofs of the previous eon's transfers lead to the passive root that the checkpoint commits. */
async function deliveries({ alice, BigNumber, chain, hub, oldTransfers, eon }) {
  for (const sent of oldTransfers) {
    const row = await hub.get(`audit/transactions/${sent.id}/`)
    const delivery = row.delivery_proof
    keys('delivery proof', delivery, [
      'merkle_proof', 'transfer_membership_chain', 'transfer_membership_trail', 'transfer_membership_values',
    ])
    const proof = delivery.merkle_proof
    assert.strictEqual(proof.eon_number, eon)
    assert.ok(await chain.provesAllotment(row.recipient.token, row.recipient.address, proof))
    const leaf = alice.transferLeaf({
      isOutgoing: false,
      senderAddress: row.wallet.address,
      recipientAddress: row.recipient.address,
      recipientTrailIdentifier: row.recipient.trail_identifier,
      amount: new BigNumber(row.amount),
      nonce: new BigNumber(row.nonce),
      passiveMarker: new BigNumber(row.position),
    })
    const left = BigInt(row.position)
    const right = left + BigInt(row.amount)
    const bound = await chain.provenPassiveBound(leaf, proof.passive_checksum, delivery, left, right)
    assert.ok(bound <= BigInt(proof.passive_amount), `bound ${bound} within ${proof.passive_amount}`)
  }
  const first = oldTransfers[0]
  const sender = await hub.walletState(first.eon_number, first.wallet.token, first.wallet.address)
  const receiver = await hub.walletState(first.eon_number, first.recipient.token, first.recipient.address)
  const proofIn = (state) => state.transactions.find((row) => row.id === first.id).delivery_proof
  assert.ok(proofIn(sender).merkle_proof, 'the sender sees the proof of the recipient')
  assert.strictEqual(proofIn(receiver).merkle_proof, null, 'the recipient has it as its own')
  return { proven: oldTransfers.length }
}

async function transfersInNewEon(context) {
  const { alice, bob, book, config } = context
  await send(context, alice, bob, config.contract, 20000000000000003n)
  await book.settle(context.eon)
  await send(context, bob, alice, config.contract, 10000000000000001n)
  await send(context, bob, alice, config.token, 1n)
  await book.settle(context.eon)
  await refused('INSUFFICIENT_WITHDRAWAL_LIMIT', withdrawCall(context, alice, config.contract, 1n))
  return freshSessions(context)
}

/** A session opened now must load from the hub what the running ones know from events. */
async function freshSessions(context) {
  const { alice, book, config } = context
  const fresh = await openSession(context, alice.account)
  for (const token of [config.contract, config.token]) {
    const { expected, unseen } = book.find(alice.address, token)
    const loaded = await fresh.nocust.getBalance(alice.address, token)
    assert.strictEqual(loaded.toFixed(0), (expected + unseen).toString(), 'balance of a fresh session')
  }
  context.freshAlice = fresh
  return book.settle(context.eon)
}

function withdrawCall({ BigNumber }, session, token, amount) {
  return session.nocust.withdraw({
    address: session.address,
    token,
    amount: new BigNumber(amount.toString()),
    gasPrice: GAS_PRICE,
  })
}

async function withdrawOne(context, session, token, amount) {
  const { BigNumber, book, chain, config, hub } = context
  const limit = await session.nocust.getWithdrawalLimit(session.address, token)
  const previous = await hub.walletState(context.eon - 1, token, session.address)
  const allotted = BigInt(previous.merkle_proof.right) - BigInt(previous.merkle_proof.left)
  const owned = book.find(session.address, token).expected
  assert.strictEqual(limit.toFixed(0), (allotted < owned ? allotted : owned).toString(), 'withdrawal limit')
  const tooMuch = BigInt(limit.plus(1).toFixed(0))
  await refused('INSUFFICIENT_WITHDRAWAL_LIMIT', withdrawCall(context, session, token, tooMuch))

  const before = await chain.ether(session.address)
  const txHash = await withdrawCall(context, session, token, amount)
  book.withdraw(session.address, token, amount)
  const fee = BigInt(session.nocust.getWithdrawalFee(new BigNumber(GAS_PRICE)).toFixed(0))
  assert.strictEqual(await chain.ether(session.address), before - fee - (await chain.gasPaid(txHash)))
  await chain.reach((await chain.head()) + config.confirmations + 1, hub)
  const row = await until('the request is in the wallet state', async () => {
    const state = await hub.walletState(context.eon, token, session.address)
    return state.withdrawal_requests.find((request) => '0x' + request.txid === txHash)
  })
  keys('withdrawal request', row, REQUEST)
  assert.deepStrictEqual([row.amount, row.eon_number, row.slashed], [amount.toString(), context.eon, false])
  return { session, token, amount, txHash }
}

async function withdraw(context) {
  const { alice, bob, BigNumber, book, config, freshAlice } = context
  context.withdrawals = [
    await withdrawOne(context, alice, config.contract, 400000000000000003n),
    await withdrawOne(context, freshAlice, config.token, 1200n * 10n ** 18n + 3n),
  ]
  const balances = await book.settle(context.eon)
  // The client does not know of its own request, so it promises too large a remaining balance.
  const promise = { from: alice.address, to: bob.address, token: config.contract, amount: new BigNumber(1) }
  await refused('DEBIT_WALLET_BALANCE_MARKER_EXCEED_BALANCE', alice.nocust.transfer(promise))
  await send(context, bob, alice, config.token, 2n)
  await book.settle(context.eon)
  return balances
}

async function confirmation(context) {
  const { alice, chain, config, eon, hub, withdrawals } = context
  const before = { ether: await chain.ether(alice.address), tokens: await chain.tokens(alice.address) }
  const start = chain.genesis + (eon - 1) * chain.blocksPerEon
  await chain.reach(start + chain.extendedSlack + 1, hub)
  const [ether, tokens] = withdrawals.map(({ amount }) => amount)
  await until('the money has arrived on chain', async () => {
    const now = { ether: await chain.ether(alice.address), tokens: await chain.tokens(alice.address) }
    if (now.ether === before.ether + ether && now.tokens === before.tokens + tokens) return true
    throw new Error(`ether +${now.ether - before.ether}, tokens +${now.tokens - before.tokens}`)
  }, 60)
  await chain.reach((await chain.head()) + config.confirmations + 1, hub)
  for (const { token, amount, txHash } of withdrawals) {
    const row = await until('the confirmation is in the wallet state', async () => {
      const state = await hub.walletState(eon, token, alice.address)
      return state.withdrawals.find(({ request }) => '0x' + request.txid === txHash)
    })
    keys('withdrawal', row, ['txid', 'block', 'eon_number', 'amount', 'time', 'request'])
    keys('request of the withdrawal', row.request, REQUEST)
    assert.deepStrictEqual([row.amount, row.eon_number], [amount.toString(), eon])
  }
  return context.book.settle(eon)
}

async function transferAfterWithdrawal(context) {
  const { alice, bob, book, config } = context
  await send(context, alice, bob, config.contract, 7n)
  await send(context, alice, bob, config.token, 10n ** 20n)
  return book.settle(context.eon)
}

module.exports = { confirmation, deliveries, freshSessions, nextEon, transferAfterWithdrawal, transfersInNewEon, withdraw }
