'use strict'

// The hub as plain HTTP and WebSocket, without the client: what is really on the wire.

const { assert, until } = require('./report')

class Hub {
  constructor(packages, config) {
    this.url = config.hubUrl
    this.WebSocket = packages.WebSocket
  }

  async request(method, path, body) {
    const answer = await fetch(this.url + path, {
      method,
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await answer.text()
    let json
    try {
      json = JSON.parse(text)
    } catch (error) {
      throw new Error(`${method} ${path}: ${answer.status} is not JSON: ${text.slice(0, 500)}`)
    }
    return { status: answer.status, json }
  }

  async get(path) {
    const { status, json } = await this.request('GET', path)
    assert.strictEqual(status, 200, `GET ${path}: ${status} ${JSON.stringify(json)}`)
    return json
  }

  status() {
    return this.get('audit/')
  }

  walletState(eon, token, wallet) {
    return this.get(`audit/${eon}/${token}/${wallet}/`)
  }

  /**
   * Funds of a wallet computed from the wallet state alone (spec/ledger.md §4.4):
   * allotment + deposits + received + gained − spent − pending requests of the eon.
   */
  async balance(eon, token, wallet) {
    const state = await this.walletState(eon, token, wallet)
    const sum = (rows) => rows.reduce((total, row) => total + BigInt(row.amount), 0n)
    const live = state.transactions.filter((row) => !row.voided && !row.cancelled)
    const received = live.filter((row) => row.recipient.address === wallet && row.recipient.token === token)
    const sent = live.filter((row) => row.wallet.address === wallet && row.wallet.token === token)
    const newest = sent.length > 0 ? sent[sent.length - 1].sender_active_state : null
    const delta = newest ? BigInt(newest.updated_gains) - BigInt(newest.updated_spendings) : 0n
    const proof = state.merkle_proof
    const allotment = proof ? BigInt(proof.right) - BigInt(proof.left) : 0n
    const requested = sum(state.withdrawal_requests.filter((row) => !row.slashed))
    return allotment + sum(state.deposits) + sum(received) + delta - requested
  }

  connect() {
    return Socket.open(this.WebSocket, this.url.replace(/^http/, 'ws') + 'ws/')
  }
}

/** A raw WebSocket connection that keeps every frame it receives. */
class Socket {
  static open(WebSocket, url) {
    return new Promise((resolve, reject) => {
      const socket = new Socket()
      socket.frames = []
      socket.closed = false
      socket.raw = new WebSocket(url)
      socket.raw.on('message', (text) => socket.frames.push(JSON.parse(text)))
      socket.raw.on('close', () => (socket.closed = true))
      socket.raw.on('error', reject)
      socket.raw.on('open', () => resolve(socket))
    })
  }

  send(op, args) {
    this.raw.send(JSON.stringify({ op, args }))
  }

  /** Sends an operation and waits for the next response of the same name. */
  async ask(op, args) {
    const before = this.frames.length
    this.send(op, args)
    return until(`${op} answered`, () =>
      this.frames.slice(before).find((frame) => frame.type === 'response' && frame.data.type === op),
    )
  }

  async errorAfter(op, args) {
    const before = this.frames.length
    this.send(op, args)
    return until(`${op} refused`, () => this.frames.slice(before).find((frame) => frame.type === 'error'))
  }

  /** Notifications of one event type on one stream, in order of arrival. */
  events(stream, type) {
    return this.frames
      .filter((frame) => frame.type === 'notification' && frame.data.type === stream)
      .map((frame) => frame.data.data)
      .filter((event) => event.type === type)
      .map((event) => event.data)
  }

  close() {
    this.raw.close()
    return until('socket closed', () => this.closed)
  }
}

const raw = (address) => address.replace(/^0x/, '')
const walletStream = (token, wallet) => `wallet/${raw(token)}/${raw(wallet)}`

module.exports = { Hub, raw, walletStream }
