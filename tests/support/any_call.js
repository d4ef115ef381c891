// Calls a unary method with a stock gRPC client and nothing of weft: `node any_call.js TARGET PROTO SERVICE METHOD JSON [INCLUDE...]`.
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [target, proto, service, method, request, ...includeDirs] = process.argv.slice(2);
const loaded = grpc.loadPackageDefinition(loader.loadSync(proto, { includeDirs, keepCase: true, defaults: true, longs: Number }));
const Client = service.split('.').reduce((space, name) => space[name], loaded);
const client = new Client(target, grpc.credentials.createInsecure());
client[method](JSON.parse(request), { deadline: Date.now() + 20000 }, (error, answer) => {
  console.log(JSON.stringify(error ? { code: error.code, details: error.details } : answer));
  client.close();
});
