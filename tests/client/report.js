'use strict'

// Assertions, waiting, and the step runner that prints one JSON line per step.

const assert = require('assert')

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const plain = (key, value) => (typeof value === 'bigint' ? value.toString() : value)

function print(record) {
  process.stdout.write(JSON.stringify(record, plain) + '\n')
}

/** Runs `body` as a named step; a failure ends the process with exit code 1 after printing its reason. */
async function step(name, body, limitSeconds = 120) {
  const started = Date.now()
  let timer
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`step not finished after ${limitSeconds} s`)), limitSeconds * 1000)
  })
  try {
    const detail = await Promise.race([body(), limit])
    print({ step: name, ok: true, ms: Date.now() - started, detail: detail === undefined ? null : detail })
  } catch (error) {
    print({ step: name, ok: false, ms: Date.now() - started, detail: describe(error) })
    process.exit(1)
  } finally {
    clearTimeout(timer)
  }
}

/** Runs the steps of a driver and ends the process: with exit code 0 only if all went well. */
function drive(main) {
  const abort = (error) => {
    print({ step: 'driver', ok: false, ms: Math.round(process.uptime() * 1000), detail: describe(error) })
    process.exit(1)
  }
  process.on('uncaughtException', abort)
  process.on('unhandledRejection', abort)
  main().then(() => {
    print({ step: 'all', ok: true, ms: Math.round(process.uptime() * 1000), detail: null })
    process.exit(0)
  }, abort)
}

function describe(error) {
  if (!(error instanceof Error)) return String(error)
  const response = error.data && error.data.e
  const body = response && response.data !== undefined ? JSON.stringify(response.data) : undefined
  return {
    message: error.message,
    description: error.description,
    status: response && response.status,
    body: body && body.slice(0, 2000),
    stack: String(error.stack).split('\n').slice(0, 12),
  }
}

/** Polls `probe` until it returns a truthy value; throws with the last observation otherwise. */
async function until(what, probe, seconds = 30, everyMs = 250) {
  const deadline = Date.now() + seconds * 1000
  let last
  for (;;) {
    try {
      last = await probe()
      if (last) return last
    } catch (error) {
      last = error
    }
    if (Date.now() > deadline) {
      const seen = last instanceof Error ? last.message : JSON.stringify(last, plain)
      throw new Error(`not reached within ${seconds} s: ${what} (last: ${seen})`)
    }
    await sleep(everyMs)
  }
}

/** Asserts that a promise is rejected with exactly this `message` (the client's error code). */
async function refused(code, promise) {
  let outcome
  try {
    outcome = await promise
  } catch (error) {
    if (error && error.message === code) return error
    const seen = error instanceof Error ? describe(error) : error
    throw new Error(`expected refusal ${code}, got ${JSON.stringify(seen, plain)}`)
  }
  throw new Error(`expected refusal ${code}, but it succeeded with ${JSON.stringify(outcome, plain)}`)
}

/** Asserts the exact key set of an object on the wire. */
function keys(what, object, names) {
  assert.ok(object && typeof object === 'object', `${what} is not an object: ${JSON.stringify(object)}`)
  assert.deepStrictEqual(Object.keys(object).sort(), names.slice().sort(), `keys of ${what}`)
}

module.exports = { assert, describe, drive, keys, plain, print, refused, sleep, step, until }
