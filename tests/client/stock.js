'use strict'

// Loads the unmodified npm client. The package keeps its session in module variables, so an independent
// session is an independent copy of its modules: the package is dropped from the require cache first.

const path = require('path')
const { createRequire } = require('module')

const PACKAGE = `${path.sep}nocust-client${path.sep}`

/** @param {string} modules folder `node_modules` that holds nocust-client and web3 1.x */
function stockPackages(modules) {
  const load = createRequire(path.join(path.resolve(modules), 'index.js'))
  const web3Version = load('web3/package.json').version
  if (!web3Version.startsWith('1.')) {
    throw new Error(`nocust-client 4.0.5 needs web3 1.2.11 beside it, found ${web3Version} in ${modules}`)
  }
  const clientVersion = load('nocust-client/package.json').version
  if (clientVersion !== '4.0.5') throw new Error(`expected nocust-client 4.0.5, found ${clientVersion}`)
  const loadAsClient = createRequire(load.resolve('nocust-client/package.json'))
  return { load, Web3: load('web3'), BigNumber: loadAsClient('bignumber.js'), WebSocket: loadAsClient('ws') }
}

/** A fresh session factory: the public API plus the read-only helpers that the checks reuse. */
function freshClient(load) {
  for (const name of Object.keys(require.cache)) {
    if (name.includes(PACKAGE)) delete require.cache[name]
  }
  const nocust = load('nocust-client').nocust
  const storage = load('nocust-client/dist/store')
  return {
    nocust,
    tradingWallets: (address) => storage.store.swapWallets.get(address),
    activeStateHash: load('nocust-client/dist/wallet/activeState').hashActiveState,
    transferLeaf: load('nocust-client/dist/wallet/transaction').hashTransfer,
    validateSignature: load('nocust-client/dist/services/blockchain').blockchain.validateSignature,
    checkRegistration: load('nocust-client/dist/wallet/checks').checkRegistration,
    parseRegistration: load('nocust-client/dist/services/operator/parsers').parseRegistration,
  }
}

/** Opens a session of one account: connects, subscribes and reads the contract. */
async function openSession(context, account, operatorUrl = context.config.hubUrl) {
  const client = freshClient(context.packages.load)
  await client.nocust.init({
    contractAddress: context.config.contract,
    rpcUrl: context.config.rpcUrl,
    operatorUrl,
    privateKey: account.privateKey,
  })
  context.sessions.push(client)
  return { ...client, address: account.address, account }
}

module.exports = { stockPackages, openSession }
