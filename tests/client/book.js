'use strict'

// What every tracked wallet must own, checked to the unit on the client's side and on the hub's.

const { assert, until } = require('./report')

class Book {
  constructor(hub) {
    this.hub = hub
    this.entries = []
  }

  /** Starts to follow (session's wallet, token) with a balance of zero. */
  track(session, name, token) {
    this.entries.push({ session, name, token, expected: 0n, unseen: 0n })
  }

  find(address, token) {
    const found = this.entries.find((entry) => entry.session.address === address && entry.token === token)
    assert.ok(found, `${address} is not tracked for ${token}`)
    return found
  }

  add(address, token, amount) {
    this.find(address, token).expected += amount
  }

  move(from, to, token, amount) {
    this.add(from, token, -amount)
    this.add(to, token, amount)
  }

  /** A requested withdrawal: gone for the hub, still counted by the client until the next eon. */
  withdraw(address, token, amount) {
    const entry = this.find(address, token)
    entry.expected -= amount
    entry.unseen += amount
  }

  newEon() {
    for (const entry of this.entries) entry.unseen = 0n
  }

  /** Replaces the client session of an address, for example after opening a fresh one. */
  useSession(session) {
    for (const entry of this.entries) {
      if (entry.session.address === session.address) entry.session = session
    }
  }

  /** Checks every entry on both sides; returns the balances for the report. */
  async settle(eon) {
    const seen = {}
    for (const { session, name, token, expected, unseen } of this.entries) {
      const inClient = expected + unseen
      await until(`${name} has ${inClient} of ${token} in the client`, async () => {
        const balance = await session.nocust.getBalance(session.address, token)
        if (balance.toFixed(0) === inClient.toString()) return true
        throw new Error(`client says ${balance.toFixed(0)}`)
      })
      await until(`${name} has ${expected} of ${token} at the hub`, async () => {
        const balance = await this.hub.balance(eon, token, session.address)
        if (balance === expected) return true
        throw new Error(`hub says ${balance}`)
      })
      seen[`${name} ${token.slice(0, 8)}`] = expected
    }
    return seen
  }
}

module.exports = { Book }
