// The part of MQTT.js in the matrix of clients. Configuration: one line of JSON on
// standard input. It subscribes all endpoints and says "ready"; on the line
// "publish" each publishes at QoS 0, 1 and 2; what arrives is written as lines of
// JSON. The end of the input is the end of the program.
'use strict'
const fs = require('fs')
const net = require('net')
const readline = require('readline')

function fail (error) {
  process.stderr.write(`mqttjs: ${error && error.stack ? error.stack : error}\n`)
  process.exit(1)
}

function connect (mqtt, ca, e) {
  const options = {
    clientId: e.name, protocolVersion: e.version === '5' ? 5 : 4, reconnectPeriod: 0, connectTimeout: 30000
  }
  if (e.transport === 'unix') {
    const client = new mqtt.MqttClient(() => net.connect(e.address), options)
    return client
  }
  const scheme = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' }[e.transport]
  const path = e.transport.startsWith('ws') ? '/mqtt' : ''
  return mqtt.connect(`${scheme}://${e.address}${path}`, { ...options, ca, rejectUnauthorized: true })
}

function subscribed (client, e) {
  return new Promise((resolve, reject) => {
    client.on('error', fail)
    client.on('message', (topic, payload, packet) => {
      process.stdout.write(JSON.stringify({ to: e.name, Topic: topic, QoS: packet.qos, Payload: payload.toString() }) + '\n')
    })
    client.on('connect', () => client.subscribe('matrix/#', { qos: 2 }, (error, granted) => {
      if (error) reject(error)
      else if (granted[0].qos !== 2) reject(new Error(`granted QoS ${granted[0].qos}`))
      else resolve()
    }))
  })
}

async function main () {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  const config = JSON.parse((await lines.next()).value)
  const mqtt = require(config.module)
  const ca = fs.readFileSync(config.ca)
  const clients = config.endpoints.map(e => connect(mqtt, ca, e))
  await Promise.all(clients.map((c, i) => subscribed(c, config.endpoints[i])))
  process.stdout.write('ready\n')
  for (let line = await lines.next(); !line.done; line = await lines.next()) {
    if (line.value !== 'publish') continue
    await Promise.all(clients.flatMap((c, i) => [0, 1, 2].map(qos =>
      c.publishAsync(`matrix/${qos}/${config.endpoints[i].name}`, `from ${config.endpoints[i].name}`, { qos }))))
  }
  process.exit(0)
}

main().catch(fail)
