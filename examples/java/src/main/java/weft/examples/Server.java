package weft.examples;

import greeter.v1.Greeter.*;
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
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Serves greetings. It is a stock gRPC server, with health and reflection, and knows nothing of weft:
 *
 * <pre>java -cp 'target/examples.jar:target/lib/*' weft.examples.Server 127.0.0.1:50051</pre>
 */
public final class Server extends GreeterServiceGrpc.GreeterServiceImplBase {
  private static final Status NO_NAME = Status.INVALID_ARGUMENT.withDescription("the request has no name");

  private final AtomicInteger grumpy = new AtomicInteger();

  @Override
  public void greet(GreetRequest request, StreamObserver<GreetResponse> answer) {
    if (request.getName().isEmpty()) { answer.onError(NO_NAME.asException()); return; }
    if (request.getName().equals("Grumpy") && grumpy.incrementAndGet() % 3 != 0) {
      answer.onError(Status.UNAVAILABLE.withDescription("not now").asException());
      return;
    }
    answer.onNext(GreetResponse.newBuilder().setText("Hello " + request.getName()).setLanguage("Java").build());
    answer.onCompleted();
  }

  @Override
  public void greetOften(GreetOftenRequest request, StreamObserver<GreetOftenResponse> answer) {
    if (request.getName().isEmpty()) { answer.onError(NO_NAME.asException()); return; }
    for (int number = 1; number <= request.getTimes(); number++) {
      answer.onNext(GreetOftenResponse.newBuilder().setText("Hello " + request.getName() + ", number " + number).build());
    }
    answer.onCompleted();
  }

  public static void main(String[] args) throws Exception {
    if (args.length != 1) throw new IllegalArgumentException("usage: Server HOST:PORT");
    var host = args[0].substring(0, args[0].lastIndexOf(':'));
    var port = Integer.parseInt(args[0].substring(host.length() + 1));
    var health = new HealthStatusManager();
    var server = NettyServerBuilder.forAddress(new InetSocketAddress(host, port), InsecureServerCredentials.create())
        .addService(new Server()).addService(ProtoReflectionServiceV1.newInstance()).addService(health.getHealthService())
        .build().start();
    health.setStatus(GreeterServiceGrpc.SERVICE_NAME, ServingStatus.SERVING);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      health.enterTerminalState();
      server.shutdown();
      try { server.awaitTermination(2, TimeUnit.SECONDS); } catch (InterruptedException ends) { return; }
    }));
    System.out.println("listening on " + host + ":" + server.getPort());
    server.awaitTermination();
  }
}
