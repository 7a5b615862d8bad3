'use strict'

// The parent chain as the driver sees it: funding, balances, eons, and moving time forward.

const { assert, sleep, until } = require('./report')

const GAS_PRICE = '2000000000'

class Chain {
  constructor(packages, config) {
    this.config = config
    this.Web3 = packages.Web3
    this.web3 = new packages.Web3(new packages.Web3.providers.HttpProvider(config.rpcUrl))
    const abi = packages.load('nocust-client/dist/helpers/nocustAbi').NOCUST_ABI
    const tokenAbi = packages.load('nocust-client/dist/helpers/erc20Abi').ERC20_ABI
    this.contract = new this.web3.eth.Contract(abi, config.contract)
    this.token = new this.web3.eth.Contract(tokenAbi, config.token)
  }

  async open() {
    this.genesis = Number(await this.contract.methods.genesis().call())
    this.blocksPerEon = Number(await this.contract.methods.BLOCKS_PER_EON().call())
    this.extendedSlack = Number(await this.contract.methods.EXTENDED_BLOCKS_PER_EPOCH().call())
    this.operator = await this.contract.methods.operator().call()
    const client = await this.web3.eth.getNodeInfo()
    this.canMine = this.config.mine !== false && client.toLowerCase().includes('anvil')
  }

  account(privateKey) {
    const account = privateKey
      ? this.web3.eth.accounts.privateKeyToAccount(privateKey)
      : this.web3.eth.accounts.create()
    this.web3.eth.accounts.wallet.add(account.privateKey)
    return { address: account.address, privateKey: account.privateKey }
  }

  call(method, params = []) {
    return new Promise((resolve, reject) => {
      const request = { jsonrpc: '2.0', id: Date.now(), method, params }
      this.web3.currentProvider.send(request, (error, answer) => {
        if (error || answer.error) reject(new Error(`${method}: ${(error || answer.error).message}`))
        else resolve(answer.result)
      })
    })
  }

  // The hub sends from the operator's account, too: whoever comes second with a number tries again.
  async numbered(send) {
    for (let left = 10; ; left--) {
      try {
        return await send()
      } catch (error) {
        if (left === 0 || !/nonce too low|replacement transaction underpriced/.test(error.message)) throw error
        await new Promise((resolve) => setTimeout(resolve, 500))
      }
    }
  }

  async sendEther(from, to, wei) {
    const transaction = { from, to, value: wei.toString(), gas: 21000, gasPrice: GAS_PRICE }
    return this.numbered(() => this.web3.eth.sendTransaction(transaction))
  }

  async sendToken(from, to, amount) {
    const transfer = this.token.methods.transfer(to, amount.toString())
    return this.numbered(() => transfer.send({ from, gas: 200000, gasPrice: GAS_PRICE }))
  }

  async ether(address) {
    return BigInt(await this.web3.eth.getBalance(address))
  }

  async tokens(address) {
    return BigInt(await this.token.methods.balanceOf(address).call())
  }

  /** Wei paid for gas by a mined transaction. */
  async gasPaid(txHash) {
    const receipt = await this.web3.eth.getTransactionReceipt(txHash)
    const transaction = await this.web3.eth.getTransaction(txHash)
    return BigInt(receipt.gasUsed) * BigInt(transaction.gasPrice)
  }

  head() {
    return this.web3.eth.getBlockNumber()
  }

  /** {block, eon, era}: era is the number of blocks since the eon began. */
  async now() {
    const block = await this.head()
    const age = block - this.genesis
    return { block, eon: Math.floor(age / this.blocksPerEon) + 1, era: age % this.blocksPerEon }
  }

  async lastSubmittedEon() {
    return Number(await this.contract.methods.lastSubmissionEon().call())
  }

  /** The contract's own verdict on a served proof of exclusive balance allotment. */
  provesAllotment(token, wallet, proof) {
    return this.contract.methods
      .verifyProofOfExclusiveAccountBalanceAllotment(
        token,
        wallet,
        [proof.active_state_checksum, proof.passive_checksum],
        proof.trail,
        [proof.eon_number, proof.passive_amount, proof.passive_marker],
        proof.allotment_chain,
        proof.membership_chain,
        proof.values,
        [proof.left, proof.right],
      )
      .call()
  }

  /** Upper bound of the recipient's passive tree as the contract derives it from a delivery proof. */
  async provenPassiveBound(leaf, root, delivery, left, right) {
    const word = (value) => this.Web3.utils.padLeft(this.Web3.utils.numberToHex(value), 64)
    const siblings = delivery.transfer_membership_chain.concat(delivery.transfer_membership_values.map(word))
    const interval = [left.toString(), right.toString()]
    return BigInt(
      await this.contract.methods
        .verifyProofOfPassiveDelivery(delivery.transfer_membership_trail, leaf, root, siblings, interval)
        .call(),
    )
  }

  /** Waits until `block` is mined and the hub has read it; mines ahead in small steps where the node can. */
  async reach(block, hub) {
    for (;;) {
      const head = await this.head()
      if (head >= block) break
      if (this.canMine) {
        await this.call('anvil_mine', ['0x' + Math.min(10, block - head).toString(16)])
        await this.hubFollows(hub)
      } else {
        await sleep(this.config.blockTime * 500)
      }
    }
    await this.hubFollows(hub)
  }

  /** Waits until the hub has read the chain up to two blocks of the head. */
  async hubFollows(hub) {
    const head = await this.head()
    await until(`hub has read block ${head}`, async () => (await hub.status()).latest.block >= head - 2, 60, 100)
  }

  /**
   * Goes on to the next eon and returns once its checkpoint is on chain and served.
   *
   * An eon without a submission halts the contract for ever, so the current eon's checkpoint must be on
   * chain before blocks are mined ahead, and none are mined ahead past the start of the new eon until the
   * hub has read it.
   */
  async nextEon(hub, witness) {
    const { eon } = await this.now()
    await this.checkpointed(eon, hub, witness)
    const start = this.genesis + eon * this.blocksPerEon
    await this.reach(start, hub)
    await this.reach(start + 2 * this.config.confirmations + 1, hub)
    await this.checkpointed(eon + 1, hub, witness)
    return eon + 1
  }

  async checkpointed(eon, hub, witness) {
    await until(`checkpoint of eon ${eon} on chain`, async () => (await this.lastSubmittedEon()) >= eon, 120)
    if (witness && witness.registrationEon < eon) {
      await until(`proof of eon ${eon} served`, async () => {
        const state = await hub.walletState(eon, witness.token, witness.address)
        return state.merkle_proof !== null
      })
    }
  }

  /** Makes sure that at least `blocks` blocks of the current eon are left, else goes to the next one. */
  async roomFor(blocks, hub, witness) {
    const { eon, era } = await this.now()
    const submitted = (await this.lastSubmittedEon()) >= eon
    if (submitted && this.blocksPerEon - era >= blocks) return eon
    if (!submitted && this.blocksPerEon - era >= blocks + 4 * this.config.confirmations) {
      await this.reach(this.genesis + (eon - 1) * this.blocksPerEon + 2 * this.config.confirmations + 1, hub)
      await this.checkpointed(eon, hub, witness)
      return this.roomFor(blocks, hub, witness)
    }
    assert.ok(this.blocksPerEon > blocks + 4 * this.config.confirmations, 'eons are too short for this driver')
    return this.nextEon(hub, witness)
  }
}

module.exports = { Chain, GAS_PRICE }
