'use strict'

// A TCP relay in front of the hub whose connections the driver can cut, as a failing network would.

const net = require('net')

function openProxy(hubUrl) {
  const target = new URL(hubUrl)
  const sockets = new Set()
  const server = net.createServer((inner) => {
    const outer = net.connect(Number(target.port || 80), target.hostname)
    for (const [from, to] of [[inner, outer], [outer, inner]]) {
      sockets.add(from)
      from.pipe(to)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
  })
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      resolve({
        url: `http://127.0.0.1:${server.address().port}/`,
        connections: () => sockets.size / 2,
        cut: () => sockets.forEach((socket) => socket.destroy()),
        close: () => {
          sockets.forEach((socket) => socket.destroy())
          server.close()
        },
      })
    })
  })
}

module.exports = { openProxy }
