// Serves greetings. It is a stock gRPC server, with health and reflection, and knows nothing of weft:
//
//   node server.js 127.0.0.1:50051 &
//   weft agent --app 127.0.0.1:50051
//
// Reflection in Node leaves out options such as (weft.v1.task) and rules: with `--descriptors FILE` the sidecar knows them too.
const path = require('node:path')
const { Server, ServerCredentials, status } = require('@grpc/grpc-js')
const { loadSync } = require('@grpc/proto-loader')
const { ReflectionService } = require('@grpc/reflection')
const { HealthImplementation } = require('grpc-health-check')
const { greeterServiceDefinition } = require('./gen/greeter/v1/greeter.grpc-server')

const SERVICE = 'greeter.v1.GreeterService'
const noName = { code: status.INVALID_ARGUMENT, details: 'the request has no name' }

let grumpy = 0

const handlers = {
  greet({ request }, answer) {
    if (!request.name) return answer(noName)
    if (request.name === 'Grumpy' && ++grumpy % 3) return answer({ code: status.UNAVAILABLE, details: 'not now' })
    answer(null, { text: `Hello ${request.name}`, language: 'JavaScript' })
  },

  greetOften(call) {
    const { name, times } = call.request
    if (!name) return call.emit('error', noName)
    for (let number = 1; number <= times; number++) call.write({ text: `Hello ${name}, number ${number}` })
    call.end()
  },
}

const server = new Server()
server.addService(greeterServiceDefinition, handlers)
const health = new HealthImplementation({ '': 'SERVING', [SERVICE]: 'SERVING' })
health.addToServer(server)
// Reflection alone needs descriptors, which the generated code does not have.
const includeDirs = ['../greeter/protos', '../../protos', '../../third_party/protovalidate'].map((folder) => path.join(__dirname, folder))
new ReflectionService(loadSync('greeter/v1/greeter.proto', { includeDirs })).addToServer(server)

const [address] = process.argv.slice(2)
if (!address) throw new Error('usage: node server.js HOST:PORT')
server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error
  console.log(`listening on ${address.replace(/:\d+$/, '')}:${port}`)
})
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    for (const service of ['', SERVICE]) health.setStatus(service, 'NOT_SERVING')
    server.tryShutdown(() => process.exit(0))
    // Health watchers' streams never end by themselves.
    setTimeout(() => process.exit(0), 2000).unref()
  })
}
