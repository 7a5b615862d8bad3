'use strict'

// End-to-end acceptance of a hub with the unmodified npm client nocust-client 4.0.5 (spec/http-api.md §12).
//
//   node driver.js CONFIG          CONFIG is a JSON text or the path of a JSON file; without an argument
//                                  it is read from the environment variable DRIVER_CONFIG
//
// Configuration:
//   hubUrl         hub, with the final slash             rpcUrl        Ethereum node
//   contract       hub contract = Ether's address        token         the second token (both EIP-55)
//   operatorKey    private key with ether and tokens     confirmations blocks until the hub confirms
//   blockTime      seconds                               blocksPerEon  blocks
//   modules        folder node_modules with nocust-client and web3 1.2.11
//   publishTerms   shell command with {privacy} and {terms} (64 hexadecimal digits each)
//   mine           false forbids mining ahead (default: where the node is anvil)
//   verbose        true shows the client's own log on standard error
//
// Prints one JSON line {step, ok, ms, detail} per step. Exit code 0 only if every step passed.

const fs = require('fs')
const path = require('path')
const { assert, drive, step } = require('./report')
const { Chain } = require('./chain')
const { Hub } = require('./hub')
const { Book } = require('./book')
const { openSession, stockPackages } = require('./stock')
const registration = require('./steps/registration')
const payments = require('./steps/payments')
const eons = require('./steps/eons')
const sockets = require('./steps/sockets')

const REQUIRED = ['hubUrl', 'rpcUrl', 'contract', 'token', 'operatorKey', 'blockTime', 'blocksPerEon', 'publishTerms']

function readConfig(argument) {
  if (!argument) throw new Error('usage: node driver.js CONFIG (JSON text or file)')
  const text = argument.trim().startsWith('{') ? argument : fs.readFileSync(argument, 'utf8')
  const config = {
    confirmations: 3,
    modules: path.join(__dirname, '..', '..', '.hub', 'npm', 'node_modules'),
    ...JSON.parse(text),
  }
  for (const name of REQUIRED) {
    if (config[name] === undefined) throw new Error(`configuration lacks ${name}`)
  }
  if (!config.hubUrl.endsWith('/')) config.hubUrl += '/'
  return config
}

/** Fresh wallets, paid for by the operator in two transactions through a wallet of this run. */
async function fund(context) {
  const { chain, config } = context
  await chain.open()
  assert.strictEqual(chain.blocksPerEon, config.blocksPerEon, 'blocks per eon')
  const operator = chain.account(config.operatorKey)
  const bank = chain.account()
  await chain.sendEther(operator.address, bank.address, 20n * 10n ** 18n)
  await chain.sendToken(operator.address, bank.address, 2n * context.largeDeposit)
  context.accounts = { alice: chain.account(), bob: chain.account(), carol: chain.account() }
  const { alice, bob } = context.accounts
  await chain.sendEther(bank.address, alice.address, 5n * 10n ** 18n)
  await chain.sendEther(bank.address, bob.address, 10n ** 18n)
  await chain.sendToken(bank.address, alice.address, context.largeDeposit + 5n)
  assert.strictEqual(await chain.tokens(alice.address), context.largeDeposit + 5n)
  return { alice: alice.address, bob: bob.address, carol: context.accounts.carol.address }
}

async function open(context) {
  const { accounts, config } = context
  for (const name of ['alice', 'bob', 'carol']) context[name] = await openSession(context, accounts[name])
  for (const name of ['alice', 'bob']) {
    for (const token of [config.contract, config.token]) context.book.track(context[name], name, token)
  }
  return registration.discover(context)
}

/** Waits for an eon with its checkpoint on chain and enough blocks left for `blocks` of work. */
const roomFor = (context, blocks) => async () => {
  context.eon = await context.chain.roomFor(blocks, context.hub, context.witness)
  return context.chain.now()
}

async function sameEon(context) {
  const { eon } = await context.chain.now()
  assert.strictEqual(eon, context.eon, 'the eon ended before its steps did: use longer eons on this machine')
  return eon
}

async function run(context) {
  const inEon = (body) => () => body(context)
  await step('fund', inEon(fund))
  await step('wait for a young eon', roomFor(context, Math.floor(context.chain.blocksPerEon * 0.7)), 300)
  await step('1 open and discover', inEon(open))
  await step('1 register', inEon(registration.register))
  context.witness = { address: context.alice.address, token: context.config.token, registrationEon: context.eon }
  await step('2 register in bulk', inEon(registration.registerBulk))
  await step('3 deposits', inEon(payments.deposits))
  await step('4 transfers', inEon(payments.transfers))
  await step('12 large amounts', inEon(payments.largeAmounts))
  await step('5 lists of transfers', inEon(payments.lists))
  await step('6 service level agreement', inEon(registration.buyAgreement))
  await step('registration eon held', () => sameEon(context))
  await step('10 checkpoint and new eon', inEon(eons.nextEon), 300)
  await step('10 delivery proofs', inEon(eons.deliveries))
  await step('10 transfers in the new eon', inEon(eons.transfersInNewEon))
  await step('7 sign fresh terms', inEon(registration.signTerms))
  await step('10 second checkpoint', inEon(eons.nextEon), 300)
  await step('10 fresh session in the third eon', inEon(eons.freshSessions))
  await step('11 withdraw', inEon(eons.withdraw))
  await step('withdrawal eon held', () => sameEon(context))
  await step('11 checkpoint after the withdrawal', inEon(eons.nextEon), 300)
  await step('11 transfer after the withdrawal', inEon(eons.transferAfterWithdrawal))
  await step('13 many streams', inEon(sockets.manyStreams))
  await step('13 cut line', inEon(sockets.cutLine))
  await step('11 second eon after the withdrawal', inEon(eons.nextEon), 300)
  await step('11 confirmation', inEon(eons.confirmation))
}

async function main() {
  const config = readConfig(process.argv[2] || process.env.DRIVER_CONFIG)
  // The client talks on the console; standard output is kept for the report.
  console.log = config.verbose ? console.error.bind(console) : () => {}
  for (const name of Object.keys(process.env)) {
    if (/^https?_proxy$/i.test(name)) delete process.env[name]
  }
  const packages = stockPackages(config.modules)
  const hub = new Hub(packages, config)
  const context = {
    config,
    packages,
    hub,
    BigNumber: packages.BigNumber,
    chain: new Chain(packages, config),
    book: new Book(hub),
    sessions: [],
    largeDeposit: 4000n * 10n ** 18n + 1n,
  }
  await run(context)
}

drive(main)
