// Calls a method that an agent in Python hosts, with a stock generated client: durably, and directly.
//
//   weft up &
//   node client.js 127.0.0.1:7700 some_file.py
const { readFileSync } = require('node:fs')
const { basename } = require('node:path')
const { Metadata, credentials } = require('@grpc/grpc-js')
const { CorpusServiceClient } = require('./gen/corpus/v1/corpus.grpc-client')

const [target, file] = process.argv.slice(2)
if (!file) throw new Error('usage: node client.js HOST:PORT FILE')
const client = new CorpusServiceClient(target, credentials.createInsecure())
const request = { fileName: basename(file), source: readFileSync(file) }

function analyze(mode) {
  const metadata = new Metadata()
  metadata.set('weft-mode', mode)
  return new Promise((resolve, reject) => {
    let response
    const call = client.analyze(request, metadata, { deadline: Date.now() + 30_000 }, (error, value) => {
      if (error) reject(error)
      response = value
    })
    // The status, with the trailers, comes last.
    call.on('status', ({ metadata: trailers }) => response && resolve({ response, trailers }))
  })
}

async function main() {
  for (const mode of ['durable', 'direct']) {
    const { response, trailers } = await analyze(mode)
    const { fileName, lines, functions } = response
    const [agent, task] = ['weft-agent', 'weft-task-id'].map((key) => trailers.get(key))
    console.log(`${mode}: ${fileName} has ${lines?.total ?? 0} lines and ${functions.length} functions, says agent [${agent}], task [${task}]`)
  }
  client.close()
}

main()
