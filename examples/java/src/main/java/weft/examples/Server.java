package weft.examples;

import greeter.v1.Greeter.GreetOftenRequest;
import greeter.v1.Greeter.GreetOftenResponse;
import greeter.v1.Greeter.GreetRequest;
import greeter.v1.Greeter.GreetResponse;
import greeter.v1.GreeterServiceGrpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Status;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.protobuf.services.ProtoReflectionServiceV1;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.util.concurrent.TimeUnit;

/**
 * Serves greetings. It is a stock gRPC server, with health and reflection, and knows nothing of weft:
 *
 * <pre>
 *   java -cp 'target/examples.jar:target/lib/*' weft.examples.Server 127.0.0.1:50051 &
 *   weft agent --app 127.0.0.1:50051
 * </pre>
 */
public final class Server {
  static final class Greeter extends GreeterServiceGrpc.GreeterServiceImplBase {
    @Override
    public void greet(GreetRequest request, StreamObserver<GreetResponse> answer) {
      if (request.getName().isEmpty()) {
        answer.onError(noName());
        return;
      }
      answer.onNext(GreetResponse.newBuilder().setText("Hello " + request.getName()).setLanguage("Java").build());
      answer.onCompleted();
    }

    @Override
    public void greetOften(GreetOftenRequest request, StreamObserver<GreetOftenResponse> answer) {
      if (request.getName().isEmpty()) {
        answer.onError(noName());
        return;
      }
      for (int number = 1; number <= request.getTimes(); number++) {
        String text = "Hello " + request.getName() + ", number " + number;
        answer.onNext(GreetOftenResponse.newBuilder().setText(text).build());
      }
      answer.onCompleted();
    }

    private static Exception noName() {
      return Status.INVALID_ARGUMENT.withDescription("the request has no name").asException();
    }
  }

  public static void main(String[] args) throws Exception {
    if (args.length != 1) {
      throw new IllegalArgumentException("usage: Server HOST:PORT");
    }
    int colon = args[0].lastIndexOf(':');
    var address = new InetSocketAddress(args[0].substring(0, colon), Integer.parseInt(args[0].substring(colon + 1)));
    var health = new HealthStatusManager();
    var server =
        NettyServerBuilder.forAddress(address, InsecureServerCredentials.create())
            .addService(new Greeter())
            .addService(ProtoReflectionServiceV1.newInstance())
            .addService(health.getHealthService())
            .build()
            .start();
    health.setStatus(GreeterServiceGrpc.SERVICE_NAME, ServingStatus.SERVING);
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  health.enterTerminalState();
                  server.shutdown();
                  try {
                    server.awaitTermination(2, TimeUnit.SECONDS);
                  } catch (InterruptedException interrupted) {
                    Thread.currentThread().interrupt();
                  }
                }));
    System.out.println("listening on " + args[0].substring(0, colon) + ":" + server.getPort());
    server.awaitTermination();
  }
}
