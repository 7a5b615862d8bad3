'use strict'

// Acceptance points 1, 2, 6 and 7: opening, registering, the service level agreement, the terms of service.

const { execSync } = require('child_process')
const crypto = require('crypto')
const { assert, keys, refused, until } = require('../report')
const { openSession } = require('../stock')

const RAW_HASH = /^[0-9a-fA-F]{64}$/
const RAW_SIGNATURE = /^[0-9a-f]{128}1[bc]$/

/** Checks a served registration with the client's own routine and returns it. */
async function checkedRegistration(context, session, token) {
  const registration = await context.hub.get(`audit/${token}/${session.address}/whois`)
  keys('registration', registration, ['eon_number', 'authorization', 'operator_authorization', 'trail_identifier'])
  assert.match(registration.authorization, RAW_SIGNATURE)
  assert.match(registration.operator_authorization, RAW_SIGNATURE)
  assert.ok(Number.isInteger(registration.trail_identifier), 'trail identifier is an integer')
  const parsed = session.parseRegistration(registration)
  assert.strictEqual(session.checkRegistration(session.address, token, parsed), true, 'both signatures hold')
  return registration
}

async function discover({ alice, config, chain, hub }) {
  const tokens = await alice.nocust.getSupportedTokens()
  const names = tokens.map((token) => token.address)
  assert.ok(names.includes(config.contract), `Ether is listed as ${config.contract}: ${names}`)
  assert.ok(names.includes(config.token), `the test token is listed as ${config.token}: ${names}`)
  const sla = await alice.nocust.getSLAInfo()
  assert.ok(names.includes(sla.token) && sla.price.gt(0) && sla.monthlyLimit > 0, JSON.stringify(sla))
  const status = await hub.status()
  assert.strictEqual(status.blocks_per_eon, chain.blocksPerEon)
  assert.strictEqual(status.confirmation_blocks, config.confirmations)
  assert.ok(status.latest.block >= status.confirmed.block)
  assert.strictEqual(await alice.nocust.getEon(), (await chain.now()).eon)
  const terms = await hub.get('tos/latest')
  assert.match(terms.terms_of_service_digest, RAW_HASH)
  assert.match(terms.privacy_policy_digest, RAW_HASH)
  return { tokens: names, sla: { token: sla.token, price: sla.price.toFixed(0), recipient: sla.recipient } }
}

async function registerOne(context, session, token) {
  assert.strictEqual(await session.nocust.isWalletRegistered(session.address, token), false)
  await session.nocust.registerWallet(session.address, token)
  assert.strictEqual(await session.nocust.isWalletRegistered(session.address, token), true)
  return checkedRegistration(context, session, token)
}

async function register(context) {
  const { alice, bob, config } = context
  const trails = {}
  for (const [name, session] of Object.entries({ alice, bob })) {
    for (const token of [config.contract, config.token]) {
      const registration = await registerOne(context, session, token)
      trails[`${name} ${token.slice(0, 8)}`] = registration.trail_identifier
      const wallet = await session.nocust.getWallet(session.address, token)
      assert.strictEqual(wallet.trailIdentifier, registration.trail_identifier)
      assert.strictEqual(wallet.registrationEon, registration.eon_number)
    }
  }
  assert.notStrictEqual(trails[`alice ${config.token.slice(0, 8)}`], trails[`bob ${config.token.slice(0, 8)}`])
  await refused('WALLET_ALREADY_ADMITTED', alice.nocust.registerWallet(alice.address, config.contract))
  const stranger = context.chain.account()
  await refused('NO_PRIVATE_KEY', alice.nocust.registerWallet(stranger.address))
  return trails
}

async function registerBulk(context) {
  const { carol, chain, config } = context
  const others = [chain.account(), chain.account(), chain.account()]
  for (const account of others) await carol.nocust.addPrivateKey(account.privateKey)
  const wallets = [
    { address: carol.address, token: config.token },
    { address: carol.address },
    { address: others[0].address, token: config.contract },
    { address: others[0].address, token: config.token },
    { address: others[1].address, token: config.contract },
    { address: others[2].address, token: config.token },
  ]
  await carol.nocust.registerBulkWallets(wallets)
  const trails = []
  for (const { address, token = config.contract } of wallets) {
    assert.strictEqual(await carol.nocust.isWalletRegistered(address, token), true)
    const registration = await checkedRegistration(context, { ...carol, address }, token)
    const local = await carol.nocust.getWallet(address, token)
    assert.strictEqual(local.trailIdentifier, registration.trail_identifier, 'notifications came in order')
    trails.push(registration.trail_identifier)
  }
  const again = wallets.map(({ address, token = config.contract }) => ({ address, token }))
  await carol.nocust.registerBulkWallets(again)
  return trails
}

async function buyAgreement(context) {
  const { alice, book, hub } = context
  const { token, price, recipient } = await alice.nocust.getSLAInfo()
  assert.strictEqual(await alice.nocust.getSLAStatus(alice.address), 0)
  const payment = await alice.nocust.buySLA(alice.address)
  book.add(alice.address, token, -BigInt(price.toFixed(0)))
  assert.strictEqual(payment.recipient.address, recipient)
  const expiry = await alice.nocust.getSLAStatus(alice.address)
  const days = (expiry - Date.now() / 1000) / 86400
  assert.ok(Math.abs(days - 30) < 0.1, `agreement ends in ${days} days`)
  assert.strictEqual((await hub.get(`sla/${alice.address}`)).transfer_id, payment.id)
  await refused('SLA_NOT_EXPIRED_YET', alice.nocust.buySLA(alice.address))
  return { days, balances: await book.settle(context.eon) }
}

function publishTerms(config) {
  const privacy = crypto.randomBytes(32).toString('hex')
  const terms = crypto.randomBytes(32).toString('hex')
  const command = config.publishTerms.replace('{privacy}', privacy).replace('{terms}', terms)
  execSync(command, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 60000 })
  return { privacy, terms }
}

async function signTerms(context) {
  const { alice, bob, config, hub } = context
  const { privacy, terms } = publishTerms(config)
  await until('new terms are served', async () => {
    const latest = await hub.get('tos/latest')
    return latest.terms_of_service_digest.toLowerCase() === terms && latest.privacy_policy_digest.toLowerCase() === privacy
  })
  // Sessions that are already open still know the previous digests, so what they sign is refused.
  await refused('INVALID_TOS_SIGNATURE', bob.nocust.signToS(bob.address))
  const fresh = await openSession(context, alice.account)
  await fresh.nocust.signToS(fresh.address)
  await refused('LATEST_TOS_ALREADY_SIGNED', fresh.nocust.signToS(fresh.address))
  const stranger = await openSession(context, context.chain.account())
  await refused('WALLET_NOT_ADMITTED', stranger.nocust.signToS(stranger.address))
  await stranger.nocust.registerWallet(stranger.address, config.token)
  await refused('LATEST_TOS_ALREADY_SIGNED', stranger.nocust.signToS(stranger.address))
  return { privacy, terms }
}

module.exports = { buyAgreement, discover, register, registerBulk, signTerms }
