// Calls a method that an agent in Python hosts, with a stock client: durably, and directly.
//
//   weft up &
//   node client.js 127.0.0.1:7700 some_file.py
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { Metadata, credentials, loadPackageDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

const [target, file] = process.argv.slice(2)
if (!file) throw new Error('usage: node client.js HOST:PORT FILE')
const { corpus } = loadPackageDefinition(
  loadSync('corpus/v1/corpus.proto', { includeDirs: [new URL('../corpus/protos', import.meta.url).pathname] }),
)
const client = new corpus.v1.CorpusService(target, credentials.createInsecure())
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

for (const mode of ['durable', 'direct']) {
  const { response, trailers } = await analyze(mode)
  const { fileName, lines, functions = [] } = response
  const [agent, task] = ['weft-agent', 'weft-task-id'].map((key) => trailers.get(key))
  console.log(`${mode}: ${fileName} has ${lines?.total ?? 0} lines and ${functions.length} functions, says agent [${agent}], task [${task}]`)
}
client.close()
