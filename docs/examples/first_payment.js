'use strict'

// A first payment on the development hub, with the npm client: two wallets register, one deposits, one is paid.
// NODE_PATH=.hub/npm/node_modules node docs/examples/first_payment.js

const { nocust } = require('nocust-client')
const Web3 = require('web3')

const HUB = process.env.HUB_URL || 'http://localhost:8123/'
const NODE = process.env.NODE_URL || 'http://localhost:8545/'
const CONTRACT = '0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7' // and the address that stands for Ether
// The second account of the development chain. The first is the operator's: the hub itself counts its transactions.
const RICH = '0x6cbed15c793ce57650b9877cf6fa156fbef513c4e6134f022a85b1ffdd59b2a1'
const GAS_PRICE = 100000000 // wei

async function main() {
  const web3 = new Web3(NODE)
  const BigNumber = require('bignumber.js')
  const rich = web3.eth.accounts.wallet.add(RICH).address
  const alice = web3.eth.accounts.create()
  const bob = web3.eth.accounts.create()
  console.log(`alice ${alice.address}\nbob   ${bob.address}`)
  await web3.eth.sendTransaction({
    from: rich, to: alice.address, value: web3.utils.toWei('1'), gas: 21000, gasPrice: GAS_PRICE,
  })

  await nocust.init({ contractAddress: CONTRACT, rpcUrl: NODE, operatorUrl: HUB, privateKey: alice.privateKey })
  await nocust.addPrivateKey(bob.privateKey)
  await nocust.registerWallet(alice.address)
  await nocust.registerWallet(bob.address)
  console.log('both are registered')

  const amount = new BigNumber(web3.utils.toWei('0.1'))
  await nocust.deposit({ address: alice.address, amount, gasPrice: GAS_PRICE })
  while ((await nocust.getBalance(alice.address)).isZero()) await new Promise((done) => setTimeout(done, 500))
  console.log('alice has', (await nocust.getBalance(alice.address)).toString(), 'wei with the hub')

  await nocust.transfer({ from: alice.address, to: bob.address, amount: new BigNumber(1000) })
  console.log('bob has', (await nocust.getBalance(bob.address)).toString(), 'wei with the hub')
  process.exit(0)
}

main().catch((error) => {
  console.error(error.message || error)
  process.exit(1)
})
