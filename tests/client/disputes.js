'use strict'

// The unmodified npm client takes hubs to the contract: an honest one wins, one made to cheat halts and everybody
// recovers.
//
//   node disputes.js               configuration as JSON in the environment variable DRIVER_CONFIG: as for driver.js,
//                                  with `scenario` (balance, delivery or withheld) and `cheat`, the shell command
//                                  that tampers with the hub's database (tests/cheat.py)
//
// Prints one JSON line {step, ok, ms, detail} per step. Exit code 0 only if every step passed.

const { execSync, spawn } = require('child_process')
const { assert, describe, print, refused, step, until } = require('./report')
const { Chain, GAS_PRICE } = require('./chain')
const { Hub } = require('./hub')
const { openSession, stockPackages } = require('./stock')

const DEPOSIT = 10n ** 18n
const CHALLENGE_GAS = 300000
const OPEN_POSITION = 2n ** 256n - 1n

async function fund(context) {
  const { chain, config } = context
  await chain.open()
  const operator = chain.account(config.operatorKey)
  for (const name of ['alice', 'bob']) {
    context.accounts[name] = chain.account()
    await chain.sendEther(operator.address, context.accounts[name].address, 5n * DEPOSIT)
  }
}

/** Fresh sessions, which know the eon from the hub alone. */
async function sessions(context) {
  for (const name of ['alice', 'bob']) context[name] = await openSession(context, context.accounts[name])
}

async function register(context) {
  await sessions(context)
  const { alice, bob, BigNumber, chain, config, hub } = context
  context.eon = (await chain.now()).eon
  for (const session of [alice, bob]) {
    await session.nocust.registerWallet(session.address, config.contract)
    const amount = new BigNumber(DEPOSIT.toString())
    await session.nocust.deposit({ address: session.address, token: config.contract, amount, gasPrice: GAS_PRICE })
  }
  context.witness = { address: alice.address, token: config.contract, registrationEon: context.eon }
  await until('both deposits are confirmed', async () => {
    const amounts = [await funds(context, alice), await funds(context, bob)]
    return amounts.every((amount) => amount === DEPOSIT)
  }, 60)
  assert.strictEqual((await chain.now()).eon, context.eon, 'the eon of registration held')
  await nextEon(context)
  return hub.status()
}

function funds({ hub, config, eon }, session) {
  return hub.balance(eon, config.contract, session.address)
}

async function nextEon(context) {
  context.eon = await context.chain.nextEon(context.hub, context.witness)
  await sessions(context)
  return context.eon
}

async function pay({ BigNumber, config }, from, to, amount) {
  const transfer = await from.nocust.transfer({
    from: from.address,
    to: to.address,
    token: config.contract,
    amount: new BigNumber(amount.toString()),
  })
  return transfer.id
}

/** Goes to where the contract takes challenges, in the eon that it is in. */
async function challengeTime({ chain, hub, eon }) {
  const start = chain.genesis + (eon - 1) * chain.blocksPerEon
  await chain.reach(start + Math.floor(chain.blocksPerEon / 4) + 1, hub)
}

/**
 * The client's own call. It takes the root of the transaction set from the checkpoint, which is that of the eon before,
 * so it fits wallets that sent nothing in the challenged eon; the others use `challengeSpending`.
 */
function challengeState({ BigNumber, config }, session) {
  return session.nocust.issueStateUpdateChallenge({
    address: session.address,
    token: config.contract,
    gasPrice: new BigNumber(GAS_PRICE),
  })
}

/** Challenges what became of the allotment of the previous eon and of the newest state that the hub signed in it. */
async function challengeSpending({ chain, config, eon, hub }, session, row) {
  const { merkle_proof: proof } = await hub.walletState(eon - 1, config.contract, session.address)
  const state = row.sender_active_state
  const signature = state.operator_signature
  return submit(chain, session, 'challengeStateUpdateWithProofOfExclusiveBalanceAllotment', [
    config.contract,
    [proof.active_state_checksum, proof.passive_checksum],
    proof.trail,
    proof.allotment_chain,
    proof.membership_chain,
    proof.values,
    [
      [proof.left, proof.right],
      [state.updated_spendings, state.updated_gains],
      [proof.passive_amount, proof.passive_marker],
    ],
    ['0x' + signature.slice(0, 64), '0x' + signature.slice(64, 128), '0x' + state.tx_set_hash],
    '0x' + signature.slice(128),
  ])
}

/** Sends a challenge with ether for its fee; the surplus comes back. */
async function submit(chain, session, name, parameters) {
  const call = chain.contract.methods[name](...parameters)
  const value = (BigInt(CHALLENGE_GAS) * 5n * 10n ** 9n).toString()
  const options = { from: session.address, gas: CHALLENGE_GAS, gasPrice: GAS_PRICE, value }
  await call.call(options) // which tells the reason if it is refused
  return call.send(options)
}

/**
 * Challenges the delivery of a sender's newest transfer of the previous eon. The client's own call names the bare
 * nonce, as for transfers that recipients countersign, so it fits no passive transfer; the served row has what the
 * contract wants.
 */
async function challengeDelivery({ chain, config }, session, row) {
  const { utils } = chain.Web3
  const state = row.sender_active_state
  const signature = state.operator_signature
  const tag = utils.soliditySha3(
    { type: 'uint256', value: OPEN_POSITION.toString() },
    { type: 'uint256', value: row.nonce },
  )
  return submit(chain, session, 'challengeTransferDeliveryWithProofOfActiveStateUpdateAgreement', [
    config.contract,
    [row.wallet.address, row.recipient.address],
    [utils.toBN(tag).toString(), row.amount],
    [row.wallet.trail_identifier, state.tx_set_index, row.recipient.trail_identifier],
    state.tx_set_proof,
    [state.updated_spendings, state.updated_gains],
    ['0x' + signature.slice(0, 64), '0x' + signature.slice(64, 128), '0x' + state.tx_set_hash],
    '0x' + signature.slice(128),
  ])
}

const live = async ({ chain }, eon) => Number(await chain.contract.methods.getLiveChallenges(eon).call())

/** A payment in one eon, challenged in every way in the next: the hub wins by itself. */
async function honestHubWins(context) {
  const { alice, bob, hub } = context
  await pay(context, alice, bob, 3n)
  const id = await pay(context, alice, bob, 100n)
  await nextEon(context)
  await challengeTime(context)
  const row = await hub.get(`audit/transactions/${id}/`)
  await challengeState(context, context.bob)
  await challengeSpending(context, context.alice, row)
  await challengeDelivery(context, context.bob, row)
  await challengeDelivery(context, context.alice, row)
  const opened = await live(context, context.eon)
  await until('every challenge is answered', async () => (await live(context, context.eon)) === 0, 60)
  await assert.rejects(challengeState(context, context.bob), 'one challenge an eon')
  return { opened }
}

async function withdraw(context) {
  const { alice, BigNumber, config, chain, hub, eon } = context
  const amount = new BigNumber(1000)
  const txHash = await alice.nocust.withdraw({
    address: alice.address,
    token: config.contract,
    amount,
    gasPrice: GAS_PRICE,
  })
  await chain.reach((await chain.head()) + config.confirmations + 1, hub)
  return until('the request is in the wallet state', async () => {
    const state = await hub.walletState(eon, config.contract, alice.address)
    return state.withdrawal_requests.find((request) => '0x' + request.txid === txHash)
  })
}

/** What each wallet holds in the checkpoint that will be the final one, and can therefore recover. */
async function remember(context) {
  const { alice, bob, config, hub, eon } = context
  context.final = eon
  context.recoverable = {}
  for (const session of [alice, bob]) {
    const { merkle_proof: proof } = await hub.walletState(eon, config.contract, session.address)
    context.recoverable[session.address] = BigInt(proof.right) - BigInt(proof.left)
  }
  return context.recoverable
}

const cheat = ({ config }, ...parameters) => execSync([config.cheat, ...parameters].join(' '), { stdio: 'inherit' })

/** Bob pays Alice, then the hub gives a part of her money to Bob; her client challenges. */
async function wrongBalanceLoses(context) {
  const { alice, bob } = context
  await pay(context, bob, alice, 5n)
  cheat(context, 'balance', context.eon, alice.address, bob.address, 1000000n)
  await nextEon(context)
  const left = await funds(context, context.alice)
  await challengeTime(context)
  await challengeState(context, context.alice)
  await unanswered(context)
  return { left }
}

async function undeliveredTransferLoses(context) {
  const { alice, bob, hub } = context
  await pay(context, bob, alice, 1n)
  const id = await pay(context, alice, bob, 500n)
  const row = await hub.get(`audit/transactions/${id}/`)
  cheat(context, 'delivery', id)
  await nextEon(context)
  await challengeTime(context)
  await challengeDelivery(context, context.bob, row)
  await unanswered(context)
}

/** Nobody answers in time; a quarter into the next eon the contract is halted. */
async function unanswered({ chain, hub, eon }) {
  const start = chain.genesis + eon * chain.blocksPerEon
  assert.strictEqual(Number(await chain.contract.methods.getLiveChallenges(eon).call()), 1)
  await chain.reach(start + Math.floor(chain.blocksPerEon / 4) + 2, hub)
  assert.ok(await chain.contract.methods.hasOutstandingChallenges().call(), 'the challenge was not answered')
}

async function withheldCheckpointLoses(context) {
  const { chain, config, eon } = context
  const [program, ...parameters] = [...config.cheat.split(' '), 'withhold']
  const holding = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'inherit'] })
  context.children.push(holding)
  await new Promise((resolve, reject) => {
    holding.stdout.once('data', resolve)
    holding.once('exit', () => reject(new Error('the checkpoint is not withheld')))
  })
  const end = chain.genesis + (eon + 1) * chain.blocksPerEon
  await chain.call('anvil_mine', ['0x' + (end + 1 - (await chain.head())).toString(16)])
  assert.ok(await context.alice.nocust.isRecoveryMode(), 'the client is in recovery mode')
}

async function hubAcceptsNothing(context) {
  const { alice, bob, config, hub } = context
  const stranger = context.chain.account()
  await alice.nocust.addPrivateKey(stranger.privateKey)
  await until('the hub refuses registrations', async () => {
    await refused('CHAIN_HALTED', alice.nocust.registerWallet(stranger.address, config.contract))
    return true
  }, 30)
  // Without a checkpoint the client has no eon to pay in.
  if (config.scenario !== 'withheld') await refused('CHAIN_HALTED', pay(context, alice, bob, 1n))
  const state = await hub.walletState(context.final, config.contract, alice.address)
  assert.ok(state.merkle_proof, 'proofs are served')
}

/** The client's own call pays the final allotment, once. */
async function recover(context, session) {
  const { BigNumber, chain, config } = context
  const call = { address: session.address, token: config.contract, gasPrice: new BigNumber(GAS_PRICE) }
  const before = await chain.ether(session.address)
  const receipt = await session.nocust.recoverFunds(call)
  const txHash = receipt.transactionHash || receipt
  const paid = (await chain.ether(session.address)) - before + (await chain.gasPaid(txHash))
  assert.strictEqual(paid, context.recoverable[session.address], 'exactly the final allotment')
  assert.ok(await session.nocust.isWalletRecovered({ address: session.address, token: config.contract }))
  await assert.rejects(session.nocust.recoverFunds(call), 'it pays once')
  return paid
}

async function run(context) {
  const { scenario, blocksPerEon } = context.config
  const inEon = (body) => () => body(context)
  await step('fund', inEon(fund))
  await step('wait for a young eon', () => context.chain.roomFor(Math.floor(blocksPerEon / 2), context.hub), 120)
  await step('register and deposit', inEon(register), 120)
  if (scenario === 'balance') {
    await step('an honest hub wins', inEon(honestHubWins), 180)
    await step('withdraw', inEon(withdraw))
  }
  await step('next eon', inEon(nextEon), 120)
  await step('remember', inEon(remember))
  if (scenario === 'balance') await step('a wrong balance loses', inEon(wrongBalanceLoses), 180)
  if (scenario === 'delivery') await step('an undelivered transfer loses', inEon(undeliveredTransferLoses), 180)
  if (scenario === 'withheld') {
    await step('one more eon', inEon(nextEon), 120)
    await step('a withheld checkpoint loses', inEon(withheldCheckpointLoses), 180)
  }
  await step('the hub accepts nothing', inEon(hubAcceptsNothing), 60)
  await step('alice recovers', () => recover(context, context.alice))
  if (scenario !== 'withheld') await step('bob recovers', () => recover(context, context.bob))
  const { address, privateKey } = context.accounts.bob
  return { address, privateKey, recoverable: context.recoverable[address] }
}

async function main() {
  const config = { confirmations: 3, ...JSON.parse(process.env.DRIVER_CONFIG) }
  console.log = config.verbose ? console.error.bind(console) : () => {}
  const packages = stockPackages(config.modules)
  const context = {
    config,
    packages,
    hub: new Hub(packages, config),
    BigNumber: packages.BigNumber,
    chain: new Chain(packages, config),
    sessions: [],
    accounts: {},
    children: [],
  }
  process.on('exit', () => context.children.forEach((child) => child.kill()))
  const bob = await run(context)
  print({ step: 'all', ok: true, ms: Math.round(process.uptime() * 1000), detail: bob })
  process.exit(0)
}

function abort(error) {
  print({ step: 'driver', ok: false, ms: Math.round(process.uptime() * 1000), detail: describe(error) })
  process.exit(1)
}

process.on('uncaughtException', abort)
process.on('unhandledRejection', abort)
main().catch(abort)
