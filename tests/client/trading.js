'use strict'

// Orders of the unmodified npm client nocust-client 4.0.5, within an eon and over several (spec/http-api.md §12,
// points 8 and 9).
//
//   node trading.js                configuration as JSON in the environment variable DRIVER_CONFIG: as for driver.js
//
// Prints one JSON line {step, ok, ms, detail} per step. Exit code 0 only if every step passed.

const { drive, step } = require('./report')
const { Book } = require('./book')
const { Chain } = require('./chain')
const { Hub } = require('./hub')
const { stockPackages } = require('./stock')
const orders = require('./steps/orders')

async function fund(context) {
  const { chain, config } = context
  await chain.open()
  const operator = chain.account(config.operatorKey)
  for (const name of ['seller', 'buyer']) {
    context.accounts[name] = chain.account()
    await chain.sendEther(operator.address, context.accounts[name].address, 3n * 10n ** 18n)
  }
  await chain.sendToken(operator.address, context.accounts.buyer.address, 2000n * 10n ** 18n)
}

async function run(context) {
  const { blocksPerEon } = context.config
  const inEon = (body) => () => body(context)
  await step('fund', inEon(fund))
  await step('wait for a young eon', () => context.chain.roomFor(Math.floor(blocksPerEon * 0.7), context.hub), 300)
  await step('register and deposit', inEon(orders.register))
  await step('8 set up trading', inEon(orders.setUpTrading))
  await step('8 buy half, sell full', inEon(orders.halfFilled))
  await step('8 cancel the rest', inEon(orders.cancelRest))
  await step('8 a better price than the limit', inEon(orders.betterPrice))
  await step('9 next eon', inEon(orders.nextEon), 300)
  await step('9 place an order', inEon(orders.placeForLater))
  await step('9 next eon', inEon(orders.nextEon), 300)
  await step('9 matched and finalised with the new row', inEon(orders.matchedInNextEon))
  await step('first third', inEon(orders.sellThird))
  await step('next eon', inEon(orders.nextEon), 300)
  await step('second third', inEon(orders.sellThird))
  await step('next eon', inEon(orders.nextEon), 300)
  await step('an eon without matches', inEon(orders.idle), 300)
  await step('last third, three eons later', inEon(orders.completedAtLast))
  await step('first third of another order', inEon(orders.sellThird))
  await step('next eon', inEon(orders.nextEon), 300)
  await step('cancelled by a fresh session', inEon(orders.cancelledByFreshSession))
  await step('last eon', inEon(orders.nextEon), 300)
}

async function main() {
  const config = { confirmations: 3, ...JSON.parse(process.env.DRIVER_CONFIG) }
  console.log = config.verbose ? console.error.bind(console) : () => {}
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
    accounts: {},
  }
  await run(context)
}

drive(main)
